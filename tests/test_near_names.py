"""Names that a mistyped one may have meant."""

from sslsv_tk.near_names import near_names

NAMES = ["batch_size", "epochs", "keep_epochs", "log_steps", "keep_every"]


def test_the_nearest_names_and_no_others():
    assert near_names("batch_sise", NAMES) == ["batch_size"]
    assert near_names("keep_e", NAMES) == ["keep_every", "keep_epochs"]
    assert near_names("keep_epoch", NAMES) == ["keep_epochs"]
    assert near_names("ssps_kmean", ["ssps_kmeans", "ssps_knn", "ssps_mini"]) == ["ssps_kmeans"]
    assert near_names("tesbed", ["testbed", "gpu_testbed", "mini"]) == ["testbed"]
    assert set(near_names("stop", ["stop_a", "stop_b"])) == {"stop_a", "stop_b"}


def test_the_beginning_of_a_name_names_it():
    assert near_names("b", NAMES) == ["batch_size"] and near_names("", NAMES) == [] and near_names("xyz", NAMES) == []
