"""Trains, evaluates and reports from a config.

python launch.py --config=configs/ldam_drw_sam.py
    train, or continue, in runs/ldam_drw_sam-cifar10-seed0
python launch.py --config=... --config.data.name=cifar100 --workdir=DIR
    another data set, another place
python launch.py --config=... --mode=evaluate --workdir=DIR
    (or --config.init_from=FILE.pth|.npz|.safetensors)
python launch.py --mode=predict --workdir=RUN --input=FOLDER --output=FILE.csv
    (a list, an image, an .npz too)
python launch.py --mode=export --workdir=RUN --output=DIR
    (weights for PyTorch, a program for JAX)
python launch.py --mode=report --workdir=DIR[,DIR...]
    report again, several runs side by side
"""

from ltjax.command import run

if __name__ == "__main__":
    run()
