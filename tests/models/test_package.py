from models.package import ModelPackage


def test_a_package_loads(tiny_package: ModelPackage) -> None:
    assert ModelPackage.load(tiny_package.folder).manifest == tiny_package.manifest
