import itertools

import pytest
import torch
from torch import nn

from edgepress.levels import Level
from edgepress.methods import create
from edgepress.methods.mixed import allocate, output_errors
from edgepress.sweep import generator_for


def test_the_allocation_is_the_best_of_all():
    generator = torch.Generator().manual_seed(0)
    sizes = {f"layer{i}": int(torch.randint(10, 1000, (), generator=generator)) for i in range(4)}
    errors = {
        name: {bits: float(torch.rand((), generator=generator)) * 4.0**-bits for bits in (2, 3, 4, 6, 8)}
        for name in sizes
    }
    for average in (2.5, 4, 5.3):
        budget = average * sum(sizes.values())
        possible = [dict(zip(sizes, bits, strict=True)) for bits in itertools.product((2, 3, 4, 6, 8), repeat=4)]
        allowed = [bits for bits in possible if sum(sizes[name] * bits[name] for name in sizes) <= budget]
        best = min(allowed, key=lambda bits: sum(errors[name][bits[name]] for name in bits))
        assert allocate(sizes, errors, budget) == best


def test_a_budget_that_nothing_fits_is_refused():
    with pytest.raises(ValueError, match="too few"):
        allocate({"a": 100}, {"a": {2: 1.0, 4: 0.5}}, 150)


@pytest.fixture
def network():
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3)).eval()
    network[2].weight.data *= 0.01  # what it computes is its bias: its weights need few bits
    network[2].bias.data.uniform_(0.5, 1)
    return network


def test_errors_fall_with_bits_and_leave_the_network_alone(network, classes):
    before = network[2].weight.detach().clone()
    errors = output_errors(network, classes.inputs["train"], [2, 4, 8])
    assert list(errors) == ["0.weight", "2.weight", "4.weight"]
    for by_bits in errors.values():
        assert by_bits[2] > by_bits[4] > by_bits[8] > 0
    assert torch.equal(network[2].weight, before)


def test_bits_are_the_level_s_on_average_at_most_and_differ(network, classes):
    stored = create("mixed").compress(network, classes, Level(bits=4), generator_for(0))
    tensors = [stored.tensors[f"{layer}.weight"] for layer in (0, 2, 4)]
    weights = [tensor.codes.numel() for tensor in tensors]
    total = sum(count * tensor.bits for count, tensor in zip(weights, tensors, strict=True))
    assert 2 * sum(weights) < total <= 4 * sum(weights)
    assert tensors[1].bits < tensors[0].bits and tensors[1].bits < tensors[2].bits


def test_where_all_layers_get_the_same_bits_it_says_that_it_would_be_gptq(network, classes):
    method, skipped = create("mixed"), {}
    alike = nn.Sequential(nn.Linear(4, 3)).eval()  # a single layer has all bits there are
    for made in (network, alike):
        for bits in (16, 8, 5, 4, 3, 2):
            level = Level(bits=bits)
            reason = skipped[made, bits] = method.skip(made, classes, level)
            ours, plain = (create(name).compress(made, classes, level, generator_for(0)) for name in ("mixed", "gptq"))
            assert (reason is None) == (ours.to_bytes() != plain.to_bytes()), bits
    assert skipped[network, 2] == "no layer can have fewer than 2 bits, so none can have more: it would be gptq"
    assert skipped[alike, 4] == "the best choice is 4 bits for every layer: it would be gptq"
    assert skipped[network, 4] is None


def test_it_comes_before_what_compresses_weights(network, classes):
    pruned = create("magnitude").compress(network, classes, Level(sparsity=0.5), generator_for(0))
    with pytest.raises(ValueError, match="must come before others"):
        create("mixed").apply(pruned, network, classes, Level(bits=4), generator_for(0))
