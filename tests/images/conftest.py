"""The images under test: those that HEARSIGHT_TEST_IMAGES names, or built from this tree."""

from pathlib import Path

import pytest

from tests.images.archive import Archive
from tests.images.engine import SERVICES, Engine, images_by_name


@pytest.fixture(scope="session")
def engine() -> Engine:
    found = Engine.here()
    if found is None:
        pytest.skip("neither docker nor podman answers here")
    return found


@pytest.fixture(scope="session")
def images(engine: Engine) -> dict[str, str]:
    """The image of each service."""
    named = images_by_name()
    if named is not None:
        return named
    built = {service: f"localhost/hearsight-test/{service}:built" for service in SERVICES}
    for service, tag in built.items():
        engine.build(service, tag, VERSION="0.0.0-test", REVISION="of-the-test")
    return built


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each service in turn."""
    return str(request.param)


@pytest.fixture
def image(images: dict[str, str], service: str) -> str:
    """The image of the service whose turn it is."""
    return images[service]


@pytest.fixture(scope="session")
def archives(
    engine: Engine, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Archive]:
    """What every image consists of, layer by layer."""
    folder: Path = tmp_path_factory.mktemp("archives")
    return {service: Archive.saved(engine, image, folder) for service, image in images.items()}


@pytest.fixture
def archive(archives: dict[str, Archive], service: str) -> Archive:
    """The image of the service whose turn it is, taken apart."""
    return archives[service]
