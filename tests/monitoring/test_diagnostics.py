import numpy as np
import pytest
import torch

from sslsv_tk.monitoring.diagnostics import PositiveDiagnostics

CPU = torch.device("cpu")
#        utterance  0  1  2  3  4  5
SPEAKERS = np.array([0, 0, 0, 1, 1, 2], dtype=np.int32)
RECORDINGS = np.array([0, 0, 1, 2, 3, 4], dtype=np.int32)


def counted(*batches, speakers=SPEAKERS, recordings=RECORDINGS):
    diagnostics = PositiveDiagnostics(CPU, speakers, recordings)
    for utterances, chosen in batches:
        diagnostics.count(torch.tensor(utterances), torch.tensor(chosen))
    return diagnostics


def test_shares_counted_by_hand():
    # 0<-1: same speaker and recording; 1<-1: kept; 2<-0: same speaker; 3<-5: wrong; 4<-3: same speaker; 5<-0: wrong
    diagnostics = counted(([0, 1, 2], [1, 1, 0]), ([3, 4, 5], [5, 3, 0]))
    assert diagnostics.summary() == {"coverage": 5 / 6, "speaker_accuracy": 3 / 5, "recording_accuracy": 1 / 5}
    assert diagnostics.summary() == {"coverage": 0.0}, "the counts start anew"


def test_without_replaced_positives_there_is_no_accuracy():
    assert counted(([0, 1], [0, 1])).summary() == {"coverage": 0.0}


def test_without_labels_only_what_is_known_is_said():
    assert counted(([0, 1], [1, 1]), speakers=None, recordings=None).summary() == {"coverage": 0.5}
    assert counted(([0, 1], [1, 1]), speakers=None).summary() == {"coverage": 0.5, "recording_accuracy": 1.0}


def test_counts_go_on_after_a_checkpoint():
    first = counted(([0, 1, 2], [1, 1, 0]))
    second = PositiveDiagnostics(CPU, SPEAKERS, RECORDINGS)
    second.load_state_dict(first.state_dict())
    second.count(torch.tensor([3, 4, 5]), torch.tensor([5, 3, 0]))
    assert second.summary() == {"coverage": 5 / 6, "speaker_accuracy": 3 / 5, "recording_accuracy": 1 / 5}


def test_clusters_are_compared_with_speakers_and_recordings_where_they_are_known():
    diagnostics = PositiveDiagnostics(CPU, SPEAKERS, RECORDINGS)
    perfect = diagnostics.clusters(torch.tensor([5, 5, 5, 2, 2, 0]))
    assert perfect["nmi_speaker"] == pytest.approx(1.0) and perfect["nmi_recording"] < 1
    partly = diagnostics.clusters(torch.tensor([-1, 5, 5, -1, 2, 0]))
    assert partly["nmi_speaker"] == pytest.approx(1.0)
    assert diagnostics.clusters(None) == {} and diagnostics.clusters(torch.full((6,), -1)) == {}
    assert PositiveDiagnostics(CPU, None, None).clusters(torch.zeros(6)) == {}
