"""MAE and I-JEPA of lightly, put together of its modules as its guide does. Run by ``compare.py``."""

from __future__ import annotations

import copy
import json
import sys

import torch
from lightly.data import IJEPAMaskCollator
from lightly.models import utils
from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from turns import Over, Turns, say

SIDE, PATCH, WIDTH, DEPTH, HEADS, NARROW, SHALLOW = 32, 4, 192, 12, 3, 96, 4
TOKENS = (SIDE // PATCH) ** 2


def vit(class_token: bool) -> VisionTransformer:
    """The encoder."""
    return VisionTransformer(
        img_size=SIDE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, class_token=class_token,
        global_pool="token" if class_token else "avg", num_classes=0,
    )  # fmt: skip


class MAE(nn.Module):
    """Three quarters of the patches are hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MaskedVisionTransformerTIMM(vit=vit(True))
        self.decoder = MAEDecoderTIMM(
            num_patches=TOKENS, patch_size=PATCH, embed_dim=WIDTH, decoder_embed_dim=NARROW, decoder_depth=SHALLOW,
            decoder_num_heads=HEADS,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The loss."""
        length = self.backbone.sequence_length
        keep, hidden = utils.random_token_mask(size=(len(x), length), mask_ratio=0.75, device=x.device)
        seen = self.decoder.embed(self.backbone.encode(images=x, idx_keep=keep))
        masked = utils.repeat_token(self.decoder.mask_token, (len(x), length))
        masked = utils.set_at_index(masked, keep, seen.type_as(masked))
        predicted = self.decoder.predict(utils.get_at_index(self.decoder.decode(masked), hidden))
        target = utils.get_at_index(utils.patchify(x, PATCH), hidden - 1)
        return F.mse_loss(predicted, target)


class IJEPA(nn.Module):
    """Blocks are predicted from a context, as the teacher sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MaskedVisionTransformerTIMM(vit=vit(False))
        self.predictor = IJEPAPredictorTIMM(
            num_patches=TOKENS, depth=SHALLOW, mlp_dim=WIDTH, predictor_embed_dim=NARROW, num_heads=HEADS
        )
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.collator = IJEPAMaskCollator(input_size=(SIDE, SIDE), patch_size=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """The loss; masks are drawn as its collator does for each batch."""
        _, seen, hidden = self.collator([torch.zeros(1)] * len(x))
        with torch.no_grad():
            tokens = self.target.encode(images=x)
            tokens = F.layer_norm(tokens, (tokens.size(-1),))
            targets = utils.apply_masks(tokens, hidden)
            targets = utils.repeat_interleave_batch(targets, len(x), repeat=len(seen))
        predicted = self.predictor(self.encoder.encode(images=x, idx_keep=seen[0]), seen, hidden)
        return F.smooth_l1_loss(predicted, targets)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the teacher."""
        for mine, theirs in zip(self.encoder.parameters(), self.target.parameters(), strict=True):
            theirs.data.mul_(0.996).add_((1 - 0.996) * mine.detach().data)


def main() -> None:
    """Train until nobody asks."""
    given = json.loads(sys.argv[1])
    torch.manual_seed(0)
    if "write" in given:  # the masks of the first steps, for the other side
        collator = IJEPAMaskCollator(input_size=(SIDE, SIDE), patch_size=PATCH)
        drawn = [collator([torch.zeros(1)] * given["batch"])[1:] for _ in range(given["steps"])]
        torch.save([(torch.stack(seen), torch.stack(hidden)) for seen, hidden in drawn], given["write"])
        say(tokens=sum(len(h) * (s[0].shape[1] + h[0].shape[1]) for s, h in drawn) / len(drawn))
        return
    model = {"MAE": MAE, "I-JEPA": IJEPA}[given["method"]]().train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.05)
    x, turns = torch.randn(given["batch"], 3, SIDE, SIDE), Turns(given["turn"], 3)
    while True:
        loss = model(x)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if isinstance(model, IJEPA):
            model.follow()
        try:
            turns()
        except Over:
            return


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
