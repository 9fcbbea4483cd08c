"""Settings, in one place: command-line options win over environment, that over `config.toml`, that over defaults."""

import contextlib
import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from medcbir.errors import DatabaseError, InputError

CONFIG_FILE = Path(platformdirs.user_config_dir("medcbir")) / "config.toml"
_LIBPQ_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")


def _default_data_dir() -> Path:
    """Under root a place that a database user can reach without opening root's home to it."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/medcbir")
    return Path(platformdirs.user_data_dir("medcbir"))


class Settings(BaseSettings):
    """Where data, weights and the database are. Environment: `MEDCBIR_<NAME>`, and `DATABASE_URL` as usual."""

    model_config = SettingsConfigDict(env_prefix="MEDCBIR_", toml_file=CONFIG_FILE, extra="forbid", frozen=True)

    data_dir: Path = Field(default_factory=_default_data_dir)
    database_url: str | None = Field(
        default=None, validation_alias=AliasChoices("database_url", "MEDCBIR_DATABASE_URL", "DATABASE_URL")
    )
    weights_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("medcbir")) / "weights")
    encoders_dir: Path = CONFIG_FILE.parent / "encoders"
    """Where files NAME.toml describe a user's own encoders."""
    max_pixels: int = 200_000_000
    """Images with more pixels than this per frame are rejected before they are decoded."""
    patient_key: str | None = None
    """Key of the hash that replaces DICOM patient ids; by default kept in a file of the data directory."""
    dicomweb_authorization: SecretStr | None = None
    """Value of the HTTP header `Authorization` for a PACS over DICOMweb, e.g. `Bearer ...`; never shown."""
    pacs_patience: float = 60.0
    """Seconds of growing pauses in which a PACS that is busy or away is asked again."""
    pacs_max_bytes: int = 200 * 2**30
    """All instances kept that a PACS has given take no more than this."""
    instance_max_bytes: int = 4 * 2**30
    """A single larger instance of a PACS is refused."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read, in falling order of weight: arguments, environment, configuration file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def conninfo(self) -> str | None:
        """libpq connection string of an external server; None where the embedded one serves.

        The empty string leaves everything to libpq's own variables (`PGHOST`, `PGSERVICE`, ...).
        """
        if self.database_url:
            return self.database_url.replace("postgresql+psycopg://", "postgresql://", 1)
        return "" if any(os.environ.get(name) for name in _LIBPQ_VARIABLES) else None

    @cached_property
    def patient_hash_key(self) -> bytes:
        """Key for pseudonymous patient ids, made at first use and readable by its owner alone."""
        if self.patient_key is not None:
            return self.patient_key.encode()
        file = self.data_dir / "patient.key"
        if not file.exists():
            draft = self.data_dir / f".patient.key.{os.getpid()}"
            try:
                self.data_dir.mkdir(parents=True, exist_ok=True)
                draft.touch(mode=0o600)
                draft.write_text(secrets.token_hex(32))
                with contextlib.suppress(FileExistsError):  # another process was first: its key counts
                    os.link(draft, file)
                draft.unlink()
            except OSError as error:
                raise DatabaseError(
                    f"cannot keep the patient hash key in {self.data_dir}: {error.strerror}; choose a writable "
                    "--data-dir or set MEDCBIR_PATIENT_KEY"
                ) from None
        return file.read_text().strip().encode()


def load_settings(**overrides: Any) -> Settings:
    """Settings with those `overrides` that are not None; a wrong value is an `InputError` that names it."""
    from pydantic import ValidationError

    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
