"""Wrong arguments and wrong calls: the exceptions of ``nn.LSTM``, type and words, side by side with it."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from srn_kernels import SRN, SRNCell


def failure(action, *args) -> Exception:
    with pytest.raises(Exception) as caught:  # any: which one is compared
        action(*args)
    return caught.value


def compare(action, *, same_words: bool = True) -> None:
    """``action`` takes the class, and fails for both in the same way."""
    expected, got = failure(action, nn.LSTM), failure(action, SRN)
    assert type(got) is type(expected), got
    if same_words:
        assert str(got) == str(expected)


CONSTRUCTIONS = {
    "dropout negative": ((2, 3, 2), {"dropout": -0.1}),
    "dropout above one": ((2, 3, 2), {"dropout": 1.1}),
    "dropout a bool": ((2, 3, 2), {"dropout": True}),
    "dropout a string": ((2, 3, 2), {"dropout": "0.5"}),
    "bias an int": ((2, 3), {"bias": 1}),
    "bias None": ((2, 3), {"bias": None}),
    "batch_first an int": ((2, 3), {"batch_first": 0}),
    "input_size a float": ((2.0, 3), {}),
    "input_size a string": (("2", 3), {}),
    "input_size zero": ((0, 3), {}),
    "input_size negative": ((-1, 3), {}),
    "hidden_size a float": ((2, 3.0), {}),
    "hidden_size a string": ((2, "3"), {}),
    "hidden_size None": ((2, None), {}),
    "hidden_size zero": ((2, 0), {}),
    "hidden_size negative": ((2, -1), {}),
    "num_layers zero": ((2, 3, 0), {}),
    "num_layers negative": ((2, 3, -1), {}),
    "proj_size negative": ((2, 3), {"proj_size": -1}),
    "proj_size as large as hidden_size": ((2, 3), {"proj_size": 3}),
    "bias before sizes": ((0, 0), {"bias": 1}),
    "batch_first before sizes": ((0, 0), {"batch_first": 1}),
    "dropout before sizes": ((0, 0), {"dropout": 2}),
    "input_size before hidden_size": ((0, 0), {}),
    "sizes before projection": ((2, 0), {"proj_size": -1}),
}


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_construction(name: str) -> None:
    args, kwargs = CONSTRUCTIONS[name]
    compare(lambda cls: cls(*args, **kwargs))


@pytest.mark.parametrize("kwargs", [{"num_layers": 1.0}, {"proj_size": 1.0}], ids=str)
def test_construction_with_words_of_our_own(kwargs: dict) -> None:
    """Where ``nn.LSTM`` fails by accident, the type is kept and the words name the argument."""
    compare(lambda cls: cls(2, 3, **kwargs), same_words=False)
    assert str(failure(lambda: SRN(2, 3, **kwargs))) == f"{next(iter(kwargs))} should be of type int, got: float"


def test_bidirectional_is_not_checked() -> None:
    assert SRN(2, 3, bidirectional=1)(torch.zeros(1, 1, 2))[0].shape == (1, 1, 6)


def test_dropout_on_a_single_layer_warns_in_the_same_words() -> None:
    with pytest.warns(UserWarning) as expected:
        nn.LSTM(2, 3, dropout=0.5)
    with pytest.warns(UserWarning, match="dropout option adds dropout") as caught:
        SRN(2, 3, dropout=0.5)
    assert [str(one.message) for one in caught] == [str(one.message) for one in expected]
    assert caught[0].filename == __file__  # it points at the caller's line


def test_dropout_on_two_layers_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SRN(2, 3, 2, dropout=0.5)


x = torch.zeros
CALLS = {
    "input 1-D": lambda cls: cls(6, 4)(x(6)),
    "input 4-D": lambda cls: cls(6, 4)(x(1, 5, 2, 6)),
    "input dtype": lambda cls: cls(6, 4)(x(5, 2, 6).double()),
    "input integers": lambda cls: cls(6, 4)(x(5, 2, 6).long()),
    "input width": lambda cls: cls(6, 4)(x(5, 2, 5)),
    "input width, unbatched": lambda cls: cls(6, 4)(x(5, 5)),
    "input device": lambda cls: cls(6, 4)(x(5, 2, 6, device="meta")),
    "hx 2-D for batched": lambda cls: cls(6, 4)(x(5, 2, 6), (x(1, 4), x(1, 4))),
    "hx 3-D for unbatched": lambda cls: cls(6, 4)(x(5, 6), (x(1, 1, 4), x(1, 1, 4))),
    "cx 2-D for batched": lambda cls: cls(6, 4)(x(5, 2, 6), (x(1, 2, 4), x(1, 4))),
    "h0 batch": lambda cls: cls(6, 4)(x(5, 2, 6), (x(1, 3, 4), x(1, 2, 4))),
    "h0 layers": lambda cls: cls(6, 4, 2)(x(5, 2, 6), (x(1, 2, 4), x(2, 2, 4))),
    "h0 directions": lambda cls: cls(6, 4, bidirectional=True)(x(5, 2, 6), (x(1, 2, 4), x(2, 2, 4))),
    "h0 size": lambda cls: cls(6, 4)(x(5, 2, 6), (x(1, 2, 5), x(1, 2, 4))),
    "c0 batch": lambda cls: cls(6, 4)(x(5, 2, 6), (x(1, 2, 4), x(1, 3, 4))),
    "c0 size": lambda cls: cls(6, 4)(x(5, 2, 6), (x(1, 2, 4), x(1, 2, 5))),
    "h0 not projected": lambda cls: cls(6, 4, proj_size=2)(x(5, 2, 6), (x(1, 2, 4), x(1, 2, 4))),
    "c0 projected": lambda cls: cls(6, 4, proj_size=2)(x(5, 2, 6), (x(1, 2, 2), x(1, 2, 2))),
    "h0 size, unbatched": lambda cls: cls(6, 4)(x(5, 6), (x(1, 5), x(1, 4))),
    "h0 batch, batch_first": lambda cls: cls(6, 4, batch_first=True)(x(2, 5, 6), (x(1, 5, 4), x(1, 5, 4))),
    "hx device": lambda cls: cls(6, 4)(x(5, 2, 6), (x(1, 2, 4, device="meta"), x(1, 2, 4, device="meta"))),
    "no step": lambda cls: cls(6, 4)(x(0, 2, 6)),
    "no step, batch_first": lambda cls: cls(6, 4, batch_first=True)(x(2, 0, 6)),
    "no step, unbatched": lambda cls: cls(6, 4)(x(0, 6)),
    "no step and no sequence": lambda cls: cls(6, 4)(x(0, 0, 6)),
    "width before hx": lambda cls: cls(6, 4)(x(5, 2, 5), (x(1, 3, 4), x(1, 3, 4))),
    "rank of hx before width": lambda cls: cls(6, 4)(x(5, 2, 5), (x(1, 4), x(1, 4))),
    "dtype before width": lambda cls: cls(6, 4)(x(5, 2, 5).double()),
    "shape of hx before its device": lambda cls: cls(6, 4)(
        x(5, 2, 6), (x(1, 3, 4, device="meta"), x(1, 3, 4, device="meta"))
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_call(name: str) -> None:
    compare(CALLS[name])


PACKED = pack_padded_sequence(x(5, 2, 6), torch.tensor([5, 3]))
SHUFFLED = pack_padded_sequence(x(5, 2, 6), torch.tensor([3, 5]), enforce_sorted=False)


@pytest.mark.parametrize("packed", [PACKED, SHUFFLED], ids=["sorted", "unsorted"])
def test_packed_calls_are_checked_as_dense_ones_are(packed: PackedSequence) -> None:
    """``nn.LSTM`` computes something, or fails in the middle of it."""
    with pytest.raises(RuntimeError, match=r"^input.size\(-1\) must be equal to input_size. Expected 5, got 6$"):
        SRN(5, 4)(packed)
    for batch in (1, 3):
        with pytest.raises(RuntimeError, match=rf"^Expected hidden\[0\] size \(1, 2, 4\), got \[1, {batch}, 4\]$"):
            SRN(6, 4)(packed, (x(1, batch, 4), x(1, batch, 4)))
    with pytest.raises(RuntimeError, match=r"^Expected hidden\[1\] size \(1, 2, 4\), got \[1, 2, 3\]$"):
        SRN(6, 4)(packed, (x(1, 2, 4), x(1, 2, 3)))
    with pytest.raises(ValueError, match=r"^RNN input dtype \(torch.float64\) does not match weight dtype"):
        SRN(6, 4)(packed.double())


@pytest.mark.parametrize(("sequence", "rank"), [(x(3), 1), (x(3, 6, 6), 3)])
def test_packed_input_of_another_rank(sequence: torch.Tensor, rank: int) -> None:
    """The words with which ``nn.LSTM.check_input`` would refuse it, if it were called."""
    with pytest.raises(RuntimeError, match=f"^input must have 2 dimensions, got {rank}$"):
        SRN(6, 4)(pack_sequence([sequence]))


@pytest.mark.parametrize("index", [0, 1])
def test_dtype_of_the_state_is_checked(index: int) -> None:
    """``nn.LSTM`` leaves this to its kernels."""
    hx = [x(1, 2, 4), x(1, 2, 4)]
    hx[index] = hx[index].double()
    with pytest.raises(ValueError, match=rf"hidden\[{index}\] dtype \(torch.float64\) does not match .*torch.float32"):
        SRN(6, 4)(x(5, 2, 6), hx)


@pytest.mark.parametrize(
    "hx", [(x(1, 2, 4),), (x(1, 2, 4),) * 3, x(1, 2, 4), 3, (None, None)], ids=lambda hx: type(hx).__name__
)
def test_a_state_that_is_no_pair_of_tensors(hx) -> None:
    with pytest.raises(TypeError, match="hx should be a pair of tensors"):
        SRN(6, 4)(x(5, 2, 6), hx)


@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_mc_l0", "bias_mc_l0"])
@pytest.mark.parametrize("wrong", ["shape", "dtype"])
def test_parameters_replaced_by_ones_that_do_not_fit(name: str, wrong: str) -> None:
    """Kernels work on addresses: a parameter of another size or type must never reach them."""
    rnn = SRN(6, 4)
    weight = getattr(rnn, name).detach()
    setattr(rnn, name, nn.Parameter(weight[..., :-1] if wrong == "shape" else weight.double()))
    with pytest.raises((RuntimeError, ValueError)):
        rnn(x(5, 2, 6))


def test_autocast_does_not_hide_a_mismatch() -> None:
    """float64 is never cast by autocast; a float64 state or input in a float32 network stays an error."""
    with torch.autocast("cpu", torch.bfloat16):
        for call in (
            lambda: SRN(6, 4)(x(5, 2, 6).double()),
            lambda: SRN(6, 4)(x(5, 2, 6), (x(1, 2, 4).double(), x(1, 2, 4).double())),
            lambda: SRN(6, 4).double()(x(5, 2, 6)),
            lambda: SRNCell(6, 4)(x(2, 6).double()),
        ):
            assert isinstance(failure(call), (RuntimeError, ValueError))


def test_an_autocast_region_of_another_device_does_not_cast() -> None:
    """A CUDA region leaves tensors on the CPU alone: a mismatch there is still an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_autocast_enabled("cuda", True)  # the context manager enables nothing where there is no CUDA
    try:
        assert isinstance(failure(lambda: SRN(6, 4)(x(5, 2, 6).bfloat16())), (RuntimeError, ValueError))
        assert SRN(6, 4)(x(5, 2, 6))[0].dtype == torch.float32
    finally:
        torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize(
    ("tasks", "error", "words"),
    [
        (0, ValueError, "at least one"),
        (-1, ValueError, "at least one"),
        ((), ValueError, "at least one"),
        (("a", "a"), ValueError, "named differently"),
        (("a", ""), ValueError, "not empty"),
        (("a", 1), TypeError, "named by strings"),
        ("abc", TypeError, "int or a sequence of names"),
        (True, TypeError, "int or a sequence of names"),
        (2.0, TypeError, "int or a sequence of names"),
        (None, TypeError, "int or a sequence of names"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("cls", [SRN, SRNCell])
def test_tasks(cls: type, tasks, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        cls(2, 3, tasks=tasks)


@pytest.mark.parametrize("value", [-0.1, 1.1, True, "0.5", None])
def test_recurrent_dropout(value) -> None:
    with pytest.raises(ValueError, match=r"^recurrent_dropout should be a number in range \[0, 1\]"):
        SRN(2, 3, recurrent_dropout=value)


def test_keyword_only_arguments_cannot_be_given_by_position() -> None:
    with pytest.raises(TypeError):
        SRN(2, 3, 1, True, False, 0.0, False, 0, None, None, 3)
