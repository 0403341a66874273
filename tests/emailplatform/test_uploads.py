"""Where an upload is while it arrives."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile

from subscribers.receiving import received

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_large_upload_arrives_on_the_disk_on_which_it_stays():
    with TemporaryUploadedFile("people.csv", "text/csv", 1, None) as upload:
        place = Path(upload.temporary_file_path())

    assert place.is_relative_to(settings.MEDIA_ROOT)


def test_what_is_made_of_an_upload_on_its_way_in_is_there_too(tmp_path, settings):
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "gone"

    with pytest.raises(FileNotFoundError), received(io.BytesIO(b"email\nana@example.com\n")):
        pass


def test_in_containers_that_disk_is_a_volume_and_not_memory():
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    web = composed["services"]["web"]
    files = next(
        line.split("=")[1].strip(" \\")
        for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.strip().startswith("VAR_DIR=")
    )

    assert f"data:{files}" in web["volumes"]
    assert not any(Path(files).is_relative_to(each) for each in web["tmpfs"])
