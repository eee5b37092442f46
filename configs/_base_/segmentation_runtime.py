# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Environment, logs and pictures of segmentation.

The values are those of mmsegmentation's `default_runtime.py`. It is not
inherited: for `mmseg::`, mmengine looks for a distribution called
"mmsegmentation", and the maintained one has another name.
"""

default_scope = 'mmseg'
# A full disk costs lines of the log, not the run.
runner_type = 'mmcae.Runner'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer'
)
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
