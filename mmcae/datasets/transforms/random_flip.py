# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A random flip that is seeded by the identity of the sample."""

from mmcv.transforms import RandomFlip as MMCVRandomFlip

from mmcae.datasets.sample_seed import sample_rng
from mmcae.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomFlip(MMCVRandomFlip):
    """mmcv's ``RandomFlip``, seeded by (run seed, epoch, index).

    Args:
        prob: Probability of a flip; a list gives one per direction.
        direction: ``'horizontal'``, ``'vertical'``, ``'diagonal'``, or a
            list of these. A single probability is divided evenly among the
            directions of a list.
        swap_seg_labels: Pairs of labels to exchange in a flipped segmentation
            map.
    """

    def transform(self, results: dict) -> dict:
        """Flip the image, boxes, key points and maps, or keep them."""
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
