"""Layers that learn faster: they answer and learn as the libraries' own, and stay for no longer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from steps import close, gradients, loss_of, trainer_for
from torch import nn

from portraitlib.training.quick_layers import FrozenConvolution, LowRankLinear, QuickLayers


def random(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("x_learns", [True, False])
def test_a_linear_layer_with_its_lora_has_the_right_gradients(scale, has_bias, x_learns):
    x = random(2, 3, 5).requires_grad_(x_learns)
    weight, bias = random(4, 5, seed=1), random(4, seed=2) if has_bias else None
    down, up = (random(*shape, seed=3).requires_grad_() for shape in ((2, 5), (4, 2)))
    given = (x, weight, bias, down, up, scale)
    wanted = F.linear(x, weight, bias) + scale * F.linear(F.linear(x, down), up)
    assert torch.allclose(LowRankLinear.apply(*given), wanted, rtol=1e-12)
    assert torch.autograd.gradcheck(LowRankLinear.apply, given)


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (1, 0), (3, 0)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_frozen_convolution_answers_and_hands_back_what_torch_does(
    kernel, padding, stride, has_bias
):
    layer = nn.Conv2d(20, 36, kernel, stride, padding, bias=has_bias).requires_grad_(False)
    quick = FrozenConvolution(layer)
    # Its weights are put in order for the first shape, and are right for any.
    for count, height, width in ((2, 9, 9), (5, 12, 8), (1, 3, 4), (2, 9, 9)):
        x = random(count, 20, height, width, dtype=torch.float32).requires_grad_()
        plain, got = layer(x), quick(x)
        of_out = random(*plain.shape, seed=1, dtype=torch.float32)
        (wanted,) = torch.autograd.grad(plain, x, of_out)
        # Laid out in memory as attention leaves it, too.
        turned = of_out.to(memory_format=torch.channels_last)
        assert torch.allclose(got, plain, rtol=1e-4, atol=1e-5)
        for each in (of_out, turned):
            (found,) = torch.autograd.grad(got, x, each, retain_graph=True)
            assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


GIVEN = (
    {},
    {"layers": "convolutions"},
    {"layers": "feed_forward", "alpha": 8.0},
    {"text_learning_rate": 1e-4},
    {"gradient_checkpointing": True},
    {"tune": "full"},
)


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_a_step_learns_what_it_would_learn_without(mini, three_photos, two_men, quick, given):
    trainer = trainer_for(mini, three_photos, quick(train_batch_size=4, **given), two_men)
    batch = trainer.data.batch(trainer.settings, 0)
    assert trainer.quick.forwards
    for micro_batch_size in (8, 3):
        got = gradients(trainer, batch, micro_batch_size)
        stood_in, trainer.quick = trainer.quick, QuickLayers()
        assert close(got, gradients(trainer, batch, micro_batch_size))
        trainer.quick = stood_in


def test_the_loss_is_the_same(mini, three_photos, two_men, quick):
    trainer = trainer_for(mini, three_photos, quick(train_batch_size=4), two_men)
    batch = trainer.data.batch(trainer.settings, 0)
    plain = loss_of(trainer, batch)
    with trainer.quick.used():
        assert loss_of(trainer, batch) == pytest.approx(plain, rel=1e-5)
        assert trainer.quick.rows is not None


def test_each_layer_that_is_learnt_has_its_stand_in_only_while_gradients_are_computed(
    mini, three_photos, two_men, quick
):
    trainer = trainer_for(mini, three_photos, quick(text_learning_rate=1e-4), two_men)
    modules = [each for part in trainer.tuned.parts.values() for each in part.modules()]
    learnt = {each for each in modules if hasattr(each, "lora_A")}
    assert learnt and learnt <= trainer.quick.forwards.keys()
    with pytest.raises(RuntimeError, match="memory"), trainer.quick.used():
        assert all("forward" in each.__dict__ for each in learnt)
        raise RuntimeError("out of memory")
    gradients(trainer, trainer.data.batch(trainer.settings, 0), 2)
    assert not any("forward" in each.__dict__ for each in modules)
    assert not any("forward" in each.__dict__ for each in mini.pipeline.unet.modules())


def test_each_caption_is_multiplied_once_a_step(mini, three_photos, two_men, quick):
    from diffusers.models.attention_processor import Attention

    settings = quick(train_batch_size=4, instance_prompt="portrait of jrdnpl man")
    trainer = trainer_for(mini, three_photos, settings, two_men)
    seen = []
    for name, module in trainer.tuned.parts["unet"].named_modules():
        if isinstance(module, Attention) and name.endswith("attn2"):
            module.to_k.register_forward_hook(lambda _, given, answer: seen.append(len(answer)))
    batch = trainer.data.batch(trainer.settings, 0)
    captions = len(set(batch.texts.tolist()))
    assert captions < 8
    gradients(trainer, batch, 8)
    assert seen and set(seen) == {captions}


@pytest.mark.parametrize("given", [{"precision": "bfloat16"}, {"compile": True}])
def test_other_number_types_and_compiled_networks_are_left_alone(mini, three_photos, quick, given):
    assert not trainer_for(mini, three_photos, quick(**given)).quick.forwards


def test_layers_that_do_more_than_usual_are_left_alone(mini, three_photos, quick):
    from portraitlib.training.quick_layers import quick_layers

    unet = trainer_for(mini, three_photos, quick()).tuned.parts["unet"]
    loras = [each for each in unet.modules() if hasattr(each, "lora_A")]
    loras[0].lora_dropout["default"] = nn.Dropout(0.1)
    loras[1].enable_adapters(False)
    attention = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    attention.residual_connection = True
    unet.conv_in.padding_mode = "reflect"
    unet.conv_out.requires_grad_(True)
    odd = {*loras[:2], attention, unet.conv_in, unet.conv_out}
    found = quick_layers([unet], torch.device("cpu"))
    assert not odd & found.forwards.keys()
    assert set(loras[2:]) <= found.forwards.keys()
    assert not found.shares_captions  # one attention does not know how to pick
    assert not quick_layers([unet], torch.device("cuda")).forwards
