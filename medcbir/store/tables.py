"""The tables of schema `medcbir` as SQLAlchemy metadata: what `alembic check` compares the database with.

Queries are written in SQL (folder `sql/`), never built from these objects.
"""

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from medcbir.store.schema import SCHEMA

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    },
)


def _identity(name: str, kind: type[Integer] | type[BigInteger] = BigInteger) -> Column[int]:
    return Column(name, kind, Identity(always=True), primary_key=True)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


dataset = Table(
    "dataset", metadata, _identity("dataset_id", Integer), Column("name", Text, nullable=False, unique=True)
)

patient = Table(
    "patient",
    metadata,
    _identity("patient_id"),
    Column("dataset_id", Integer, ForeignKey(dataset.c.dataset_id), nullable=False),
    Column("source_id", Text, nullable=False, comment="pseudonymous: the publisher's id, or a keyed hash of DICOM's"),
    UniqueConstraint("dataset_id", "source_id"),
)

label = Table(
    "label",
    metadata,
    _identity("label_id", Integer),
    Column("name", Text, nullable=False, unique=True, comment="MODALITY/region/finding"),
    Column("key", Text, nullable=False, unique=True, comment="the name without its case and spacing"),
    Column("modality", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("finding", Text),
    Column("kind", Text, nullable=False),
    CheckConstraint("kind IN ('pathology', 'anatomy')", name="kind"),
)

image = Table(
    "image",
    metadata,
    _identity("image_id"),
    Column("dataset_id", Integer, ForeignKey(dataset.c.dataset_id), nullable=False),
    Column("patient_id", BigInteger, ForeignKey(patient.c.patient_id), index=True),
    Column("uri", Text, nullable=False, index=True, comment="the image's name in its dataset, as its source writes it"),
    Column("frame", Integer, nullable=False, server_default=text("0")),
    Column("path", Text, comment="where its bytes are; NULL when catalogued without files"),
    Column("modality", Text),
    Column("region", Text),
    Column("split", Text),
    Column("study_uid", Text),
    Column("series_uid", Text),
    Column("instance_uid", Text),
    Column("width", Integer, comment="pixels"),
    Column("height", Integer, comment="pixels"),
    Column("file_sha256", LargeBinary),
    Column("pixel_sha256", LargeBinary, index=True, comment="of the decoded, displayable pixels"),
    Column("fingerprint", LargeBinary, comment="of the source's record and the file's size and time: same, unchanged"),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    _now("created_at"),
    UniqueConstraint("dataset_id", "uri", "frame"),
    CheckConstraint("split IN ('train', 'val', 'test')", name="split"),
    CheckConstraint("frame >= 0", name="frame"),
)

image_label = Table(
    "image_label",
    metadata,
    Column("image_id", BigInteger, ForeignKey(image.c.image_id, ondelete="CASCADE")),
    Column("label_id", Integer, ForeignKey(label.c.label_id), index=True),
    PrimaryKeyConstraint("image_id", "label_id"),
)

rejected = Table(
    "rejected",
    metadata,
    _identity("rejected_id"),
    Column("stage", Text, nullable=False),
    Column("encoder_id", Integer, ForeignKey("medcbir.encoder.encoder_id", ondelete="CASCADE")),
    Column("dataset", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("frame", Integer),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _now("rejected_at"),
    UniqueConstraint("stage", "encoder_id", "dataset", "uri", "frame", postgresql_nulls_not_distinct=True),
    CheckConstraint("stage IN ('ingest', 'encode')", name="stage"),
    CheckConstraint("kind IN ('unreadable', 'not_an_image', 'invalid')", name="kind"),
)

encoder = Table(
    "encoder",
    metadata,
    _identity("encoder_id", Integer),
    Column("name", Text, nullable=False, unique=True),
    Column("dim", Integer, nullable=False),
    Column("recipe", JSONB, nullable=False, comment="everything that shapes a vector"),
    Column("recipe_sha256", LargeBinary, nullable=False, unique=True),
    Column("checkpoint_sha256", LargeBinary),
    Column("versions", JSONB, nullable=False, server_default=text("'{}'::jsonb"), comment="libraries, for the record"),
    Column("imported", Boolean, nullable=False, server_default=text("false")),
    _now("created_at"),
    Column("retired_at", DateTime(timezone=True), comment="when its vectors were dropped; NULL while it has them"),
    CheckConstraint("dim BETWEEN 1 AND 16000", name="dim"),
    CheckConstraint("name ~ '^[A-Za-z][A-Za-z0-9_.-]{0,49}$'", name="name"),
)

embedding = Table(
    "embedding",
    metadata,
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id), nullable=False),
    Column("image_id", BigInteger, ForeignKey(image.c.image_id, ondelete="CASCADE"), nullable=False),
    Column("v", VECTOR(), nullable=False, comment="unit L2 norm"),
    postgresql_partition_by="LIST (encoder_id)",
)

vector_change = Table(
    "vector_change",
    metadata,
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id, ondelete="CASCADE")),
    Column("change_id", BigInteger, Identity(always=True)),
    Column("additive", Boolean, nullable=False, comment="vectors were only added"),
    PrimaryKeyConstraint("encoder_id", "change_id"),
)

stale_vector = Table(
    "stale_vector",
    metadata,
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id, ondelete="CASCADE")),
    Column("image_id", BigInteger, ForeignKey(image.c.image_id, ondelete="CASCADE"), index=True),
    PrimaryKeyConstraint("encoder_id", "image_id"),
    comment="vectors that were removed since the pixels of their image had changed",
)

encode_claim = Table(
    "encode_claim",
    metadata,
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id, ondelete="CASCADE")),
    Column("image_id", BigInteger, ForeignKey(image.c.image_id, ondelete="CASCADE"), index=True),
    Column("worker", Integer, nullable=False, comment="alive while it holds the advisory lock of this number"),
    PrimaryKeyConstraint("encoder_id", "image_id"),
)

run = Table(
    "run",
    metadata,
    _identity("run_id", Integer),
    Column("name", Text, nullable=False, unique=True),
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id), nullable=False, index=True),
    Column("n", Integer, nullable=False),
    Column("engine", Text, nullable=False),
    Column("query_filter", JSONB, nullable=False),
    Column("index_filter", JSONB, nullable=False),
    Column("exclude_same_patient", Boolean, nullable=False),
    Column("query_count", Integer, nullable=False),
    Column("index_count", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("certificate", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    _now("created_at"),
    Column("exclude_duplicates", Boolean, nullable=False, server_default=text("false")),
    Column("exclude_same_study", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("n >= 1", name="n"),
)

unfinished_run = Table(
    "unfinished_run",
    metadata,
    Column("run_id", Integer, primary_key=True, autoincrement=False, comment="that of the run it will be"),
    Column("name", Text, unique=True),
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id), nullable=False, index=True),
    Column("n", Integer, nullable=False),
    Column("engine", Text, nullable=False),
    Column("query_filter", JSONB, nullable=False),
    Column("index_filter", JSONB, nullable=False),
    Column("exclude_same_patient", Boolean, nullable=False),
    Column("exclude_same_study", Boolean, nullable=False),
    Column("exclude_duplicates", Boolean, nullable=False),
    Column("query_count", Integer, nullable=False),
    Column("index_count", Integer, nullable=False),
    Column(
        "contents_sha256", LargeBinary, nullable=False, comment="of who takes part and the version of their vectors"
    ),
    Column("snapshots", ARRAY(Text), nullable=False, comment="exported by its processes; they end with them"),
    Column(
        "workers", ARRAY(Integer), nullable=False, comment="each alive while it holds the advisory lock of its number"
    ),
    Column(
        "worked",
        Double,
        nullable=False,
        server_default=text("0"),
        comment="seconds before started_at that a process worked on it",
    ),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("failure", Text, comment="how its answer contradicted pgvector"),
)

run_block = Table(
    "run_block",
    metadata,
    Column("run_id", Integer, ForeignKey(unfinished_run.c.run_id, ondelete="CASCADE")),
    Column("block", Integer),
    Column("first_query", Integer, nullable=False),
    Column("last_query", Integer, nullable=False, comment="the one after the last, by the order of image ids"),
    Column("worker", Integer),
    Column("answered_at", DateTime(timezone=True)),
    Column("certificate", JSONB),
    PrimaryKeyConstraint("run_id", "block"),
    comment="queries of an unfinished run that one process answers at a time",
)

run_class = Table(
    "run_class",
    metadata,
    Column("run_id", Integer, ForeignKey(run.c.run_id, ondelete="CASCADE")),
    Column("label_id", Integer, ForeignKey(label.c.label_id), index=True),
    Column("index_images", Integer, nullable=False),
    PrimaryKeyConstraint("run_id", "label_id"),
)

run_query = Table(
    "run_query",
    metadata,
    Column("run_id", Integer, ForeignKey(run.c.run_id), nullable=False),
    Column("query_id", BigInteger, ForeignKey(image.c.image_id, ondelete="CASCADE"), nullable=False),
    Column("label_id", Integer, comment="the query's single label at the time of the run"),
    Column("relevant", Integer, nullable=False, comment="index images of its class that it may retrieve"),
    Column("hit_ids", ARRAY(BigInteger), nullable=False),
    Column("hit_distances", ARRAY(Double), nullable=False),
    Column("hit_label_ids", ARRAY(Integer), nullable=False),
    PrimaryKeyConstraint("run_id", "query_id"),
    Index("run_query_query_id_idx", "query_id"),
    postgresql_partition_by="LIST (run_id)",
)

ablation = Table(
    "ablation",
    metadata,
    _identity("ablation_id", Integer),
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id), nullable=False, index=True),
    Column("query_filter", JSONB, nullable=False),
    Column("index_filter", JSONB, nullable=False),
    Column("exclude_same_patient", Boolean, nullable=False),
    Column("larger_than", Integer, nullable=False, comment="classes with more index images than this take part"),
    Column("queries_per_class", Integer, nullable=False),
    Column("first_seed", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    _now("created_at"),
    Column("name", Text, unique=True),
)

ablation_class = Table(
    "ablation_class",
    metadata,
    Column("ablation_id", Integer, ForeignKey(ablation.c.ablation_id, ondelete="CASCADE")),
    Column("seed", BigInteger, comment="of the draw of index images"),
    Column("images_per_class", Integer),
    Column("n", Integer),
    Column("label_id", Integer, ForeignKey(label.c.label_id), index=True),
    Column("queries", Integer, nullable=False),
    Column("matches", Integer, nullable=False, comment="relevant images among the first n of all its queries"),
    PrimaryKeyConstraint("ablation_id", "seed", "images_per_class", "n", "label_id"),
)

classification = Table(
    "classification",
    metadata,
    _identity("classification_id", Integer),
    Column("method", Text, nullable=False),
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id), nullable=False, index=True),
    Column(
        "run_id",
        Integer,
        ForeignKey(run.c.run_id, ondelete="SET NULL"),
        index=True,
        comment="the retrieval run whose hits voted; NULL for a linear probe",
    ),
    Column(
        "label_ids",
        ARRAY(Integer),
        nullable=False,
        comment="the classes that could be predicted: those of index or training images",
    ),
    Column("query_count", Integer, nullable=False),
    Column("parameters", JSONB, nullable=False, comment="what was asked for, and K"),
    Column(
        "certificate",
        JSONB,
        nullable=False,
        server_default=text("'{}'::jsonb"),
        comment="how it came about: the search for K, or the training by epoch",
    ),
    Column("seconds", Double, nullable=False),
    _now("created_at"),
    Column("name", Text, unique=True),
    CheckConstraint("method IN ('knn', 'linear')", name="method"),
)

prediction = Table(
    "prediction",
    metadata,
    Column("classification_id", Integer, ForeignKey(classification.c.classification_id), nullable=False),
    Column("image_id", BigInteger, ForeignKey(image.c.image_id, ondelete="CASCADE"), nullable=False),
    Column("label_id", Integer, comment="the image's single label at the time"),
    Column("predicted_label_id", Integer, comment="NULL where nothing voted"),
    Column(
        "label_ids",
        ARRAY(Integer),
        comment="the classes that scores stands for; NULL: all of the classification's",
    ),
    Column("scores", ARRAY(REAL), nullable=False, comment="in [0, 1]; a class that is not there has 0"),
    PrimaryKeyConstraint("classification_id", "image_id"),
    Index("prediction_image_id_idx", "image_id"),
    postgresql_partition_by="LIST (classification_id)",
)

projection = Table(
    "projection",
    metadata,
    _identity("projection_id", Integer),
    Column("name", Text, nullable=False, unique=True),
    Column("encoder_id", Integer, ForeignKey(encoder.c.encoder_id), nullable=False, index=True),
    Column("method", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column(
        "filter",
        JSONB,
        nullable=False,
        comment="which images: dataset, modality, region, split, and the limit of a sample",
    ),
    Column(
        "parameters",
        JSONB,
        nullable=False,
        comment="of the method, with what it reached and the versions of libraries",
    ),
    Column("image_count", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    _now("created_at"),
    CheckConstraint("method IN ('tsne', 'pacmap')", name="method"),
)

projection_point = Table(
    "projection_point",
    metadata,
    Column("projection_id", Integer, ForeignKey(projection.c.projection_id), nullable=False),
    Column("image_id", BigInteger, ForeignKey(image.c.image_id, ondelete="CASCADE"), nullable=False),
    Column("x", REAL, nullable=False, comment="without unit"),
    Column("y", REAL, nullable=False, comment="without unit"),
    PrimaryKeyConstraint("image_id", "projection_id"),
    postgresql_partition_by="LIST (projection_id)",
)

PARTITIONED = {embedding.name, run_query.name, prediction.name, projection_point.name}
