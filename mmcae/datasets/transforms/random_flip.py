# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Random flip whose draws follow the sample's identity."""

from mmcv.transforms import RandomFlip as MMCVRandomFlip

from mmcae.datasets.sample_seed import sample_rng
from mmcae.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomFlip(MMCVRandomFlip):
    """mmcv's ``RandomFlip``, drawing from (run seed, epoch, index).

    Args:
        prob: Probability of a flip; a list gives one per direction.
        direction: ``'horizontal'``, ``'vertical'``, ``'diagonal'``, or a
            list of these. One probability is shared evenly by a list.
        swap_seg_labels: Pairs of labels that trade places in a flipped
            segmentation map.
    """

    def transform(self, results: dict) -> dict:
        """Flip the image (and boxes, key points and maps) or leave them."""
        directions = (
            [self.direction]
            if isinstance(self.direction, str)
            else list(self.direction)
        )
        shares = (
            self.prob
            if isinstance(self.prob, list)
            else [self.prob / len(directions)] * len(directions)
        )
        draw = sample_rng(results, 'flip').random()
        results['flip'] = False
        results['flip_direction'] = None
        for direction, share in zip(directions, shares, strict=True):
            if draw < share:
                results['flip'] = True
                results['flip_direction'] = direction
                self._flip(results)
                break
            draw -= share
        return results

    def target_view_settings(self) -> dict:
        """Describe the probabilities and the directions."""
        return dict(
            prob=self.prob,
            direction=self.direction,
            swap_seg_labels=self.swap_seg_labels,
        )
