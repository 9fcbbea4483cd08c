"""The Python interface: `connect()` and the Database object, one method per use case, each a call into one room.

    import medcbir

    with medcbir.connect() as db:
        db.ingest("/data/radimagenet")
        for hit in db.search(image="query.png", n=10):
            print(hit.rank, hit.similarity, hit.uri)

The commands of the shell call these methods and nothing else. Each file here has those of one subject, by its name, and
the helpers that they alone need; `session.py` has what all need.
"""

from pathlib import Path

from medcbir.api.administration import Administration
from medcbir.api.catalogue import Catalogue
from medcbir.api.classification import Classifiers
from medcbir.api.duplicates import Duplicates
from medcbir.api.encoders import Device, Encoders
from medcbir.api.evaluation import Evaluation
from medcbir.api.filters import Filters
from medcbir.api.index import ApproximateIndex
from medcbir.api.report import Reports
from medcbir.api.runs import Runs
from medcbir.api.search import Search
from medcbir.api.session import database_errors
from medcbir.config import load_settings

__all__ = ["Database", "Device", "connect", "database_errors"]


def connect(url: str | None = None, data_dir: str | Path | None = None) -> "Database":
    """Open the database: of `url`, else of `DATABASE_URL` or libpq's variables, else the embedded one in `data_dir`.

    Raises `DatabaseError` where it cannot be reached, in one line that names the next step.
    """
    return Database(load_settings(database_url=url, data_dir=data_dir))


class Database(
    Catalogue,
    Reports,
    Search,
    Filters,
    ApproximateIndex,
    Evaluation,
    Classifiers,
    Duplicates,
    Encoders,
    Runs,
    Administration,
):
    """An open medcbir database. Use it as a context manager, or call `close()`; one thread at a time.

    Every method raises a `MedcbirError` for what its caller can mend; the message says how.
    """
