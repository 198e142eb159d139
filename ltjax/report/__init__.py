from pathlib import Path
def write(workdirs, out): pass
def print_evaluation(config, result): print({k:v for k,v in result.items() if k!='confusion'})
