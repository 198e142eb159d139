"""python -m ltjax: the same as launch.py in a checkout."""

from ltjax.command import run

if __name__ == "__main__":
    run()
