"""What is recorded of the public functions, a file a few modules: CASES has a name -> a function
without arguments, whose arrays are kept by their moments and whose texts as they are.

Options stand at values that are not their defaults, so that one that is not handed on is noticed.
"""
