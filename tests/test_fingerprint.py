"""What makes two runs the same experiment."""

import pytest

from dotcom.fingerprint import fingerprint, scientific
from test_checked import asked


@pytest.fixture(scope="module")
def plain() -> str:
    return fingerprint(asked(""))


@pytest.mark.parametrize(
    "override",
    ["co_bias=false", "block=mv2", "seed=1", "epochs=3", "optimizer.lr=0.1", "model=dotcom_base", "image_size=96"],
)
def test_fingerprint__changes_with_what_can_change_the_result(plain, override):
    assert fingerprint(asked(override)) != plain


@pytest.mark.parametrize(
    "override",
    ["hardware=cpu", "logger=tensorboard", "data.num_workers=2", "compile=true", "resume=true", "precision=bf16-mixed"],
)
def test_fingerprint__stays_with_another_machine_folder_or_logger(plain, override):
    assert fingerprint(asked(override)) == plain


def test_fingerprint__changes_with_a_shorter_training(plain):
    config = asked("")
    assert fingerprint(config | {"trainer": config["trainer"] | {"limit_train_batches": 3}}) != plain


def test_fingerprint__is_the_same_for_an_equal_value_given_or_not(plain):
    assert fingerprint(asked("co_bias=true seed=0")) == plain


def test_scientific__names_no_path(tmp_path):
    settings = scientific(asked("") | {"output_dir": str(tmp_path)})
    assert settings["model.variant"] == "tiny"
    assert not [key for key, value in settings.items() if str(tmp_path) in str(value)]
