"""What strategies do on pixels and joints that they do not on samples."""

import inspect

import pytest
from zoo import ZOO, batches, build, take_step

from selftrain.mix import SourceClassMix

MIXING = [name for name, entry in ZOO.items() if "mix" in inspect.signature(entry.make).parameters]
# their one batch holds labeled samples already; or they learn from a frozen table, by parts of the others
OWN = {"mixmatch"}


class Counted(SourceClassMix):
    """A mix that remembers what it was given."""

    def with_labeled(self, x, target, task, labeled):
        made = super().with_labeled(x, target, task, labeled)
        self.given = (x, labeled, made[0])
        return made


@pytest.mark.parametrize("name", [name for name in MIXING if "segmentation" in ZOO[name].kinds])
def test_labeled_pixels_lie_on_unlabeled_pictures_in_every_strategy(name):
    mix = Counted()
    strategy = build(name, "segmentation", mix=mix)
    given = batches(strategy, "segmentation")
    if name in OWN:
        with pytest.raises(ValueError, match="there are none here; take ClassMix"):
            take_step(strategy, given)
        return
    take_step(strategy, given)
    x, labeled, mixed = mix.given
    assert any(labeled.x is batch.labeled.x for batch in given)
    assert (mixed != x).any()
