"""A first look at a data set: counts, sizes, duplicates, unreadable files, a picture of every
class, and which recipe fits. Nothing is trained.
"""

from ltjax.inspection.findings import inspect
from ltjax.inspection.pictures import contact_sheet, overview
from ltjax.inspection.told import tell

__all__ = ["contact_sheet", "inspect", "overview", "tell"]
