"""How `smolvlm_tiny/` was made: a SmolVLM of random weights as transformers saves it, and what it computes.

    python tests/smolvla/make_smolvlm_tiny.py          # with transformers 5.23 and torch 2.13

The language model's rope_theta is the 10,000 that SmolVLA turns with, and its mask is causal, as it always is there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

FOLDER = Path(__file__).parent / "smolvlm_tiny"
TEXT = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "vocab_size": 64,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0, "pad_token_id": 2}
VISION = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3,
          "image_size": 32, "patch_size": 4}


@torch.no_grad()
def build() -> SmolVLMForConditionalGeneration:
    """Random weights that bfloat16 holds exactly, so that the files are small."""
    torch.manual_seed(0)
    config = SmolVLMConfig(text_config=TEXT, vision_config=VISION, scale_factor=4, image_token_id=63,
                           pad_token_id=2, tie_word_embeddings=False)
    model = SmolVLMForConditionalGeneration(config).eval()
    for name, weight in model.named_parameters():
        noise = torch.randn_like(weight)
        scattered = noise / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1 * noise + name.endswith("weight")
        weight.copy_(scattered.bfloat16())
    return model


@torch.no_grad()
def compute(model: SmolVLMForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Two pictures through the eyes, nine vectors through the language model: its notes of every layer."""
    pictures, vectors = torch.rand(2, 3, 32, 32) * 2 - 1, torch.randn(2, 9, 32)
    patches = model.model.vision_model(pictures).last_hidden_state
    cache = model.model.text_model(inputs_embeds=vectors, use_cache=True).past_key_values
    notes = {f"{kind}.{i}": getattr(layer, kind).transpose(1, 2) for i, layer in enumerate(cache.layers)
             for kind in ("keys", "values")}                                             # (B, S, g, d)
    return {"pictures": pictures, "vectors": vectors, "image_tokens": model.model.connector(patches), **notes}


def main() -> None:
    model = build()
    expected = {name: value.contiguous() for name, value in compute(model).items()}
    model.bfloat16().save_pretrained(FOLDER, max_shard_size="60KB")
    save_file(expected, FOLDER / "expected.safetensors")


if __name__ == "__main__":
    main()
