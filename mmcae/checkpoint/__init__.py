# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Checkpoints: files made by others, read as data and never as code.

The way from a file to a model, in the order in which a file travels:

1. Get the bytes.

   ``download``
       From a URL to a checked file in the cache.
   ``transfer``
       What a web server may ask of us in time and bytes.
   ``packaged``
       From ``mmcae://NAME`` to a checked file of the package.
   ``hub_file``
       From ``hf://OWNER/NAME`` to a checked file in the Hub's cache.
   ``reading``
       `read_checkpoint`: from a path to the content. Start reading here.
   ``mmengine_loader``
       Makes mmengine load every checkpoint with this reader.
   ``decoding``
       The table of contents of the next three steps.

2. Understand the structure. Nothing is executed, and no tensor is made.

   ``formats``
       The two formats of ``torch.save``.
   ``archive``
       The zip archive, compared with the size of the file.
   ``pickle_machine``, ``pickle_bytes``, ``pickle_objects``
       The pickle, read as a description of data.
   ``safetensors_file``
       The other format: a header and the data.

3. Allow known names only.

   ``allow_list``
       The names that a pickle may use.
   ``stand_ins``
       Checked stand-ins for NumPy arrays and logs.
   ``dalle_pickle``
       A longer list, for OpenAI's tokenizer.

4. Make tensors.

   ``tensors``
       Records of tensors, checked against their storage.
   ``finishing``
       Records become tensors, and stand-ins become objects.

5. Find names and meaning.

   ``weights``
       Which part of a file are the weights, and whether they are tensors.
   ``official``
       The authors' tensor names and ours.
   ``encoder_args``, ``normalization``, ``file_header``
       What the tensors and the metadata say about the model.
   ``encoder_settings``
       What a downstream config takes from a checkpoint.
   ``config_literals``
       The literals of the config that a run stores; nothing is executed.

6. Load into a model, and report.

   ``load_with_report``
       Every load into a model with a CAE encoder.
   ``load_report``, ``key_summary``
       What happened to each tensor, in a few words.
   ``patch_channels``
       A patch embedding for images with more or fewer channels.
   ``tokenizer_weights``
       A tokenizer needs all of its tensors.

7. Start a pretraining from weights of any library.

   ``start_from``
       What a config gives as `init_cfg`. Start reading here.
   ``start_table``
       What can start what: families, treatments, refusals.
   ``foreign_names``
       The tensor names of timm, transformers and mmpretrain.
   ``start_encoder``, ``start_form``, ``start_fit``
       From a file to an encoder, its tensors in our form, and into a model.

8. Resume a run.

   ``resume``
       Checks every file before a run is resumed from it.
   ``resume_check``, ``optimizer_check``, ``moment_check``, ``plain_values``
       The parts of the file, compared with the run.
   ``resume_changes``
       What may differ between the config of the file and that of the run.
   ``own_files``
       Which files the resumed run may remove.
   ``work_dir``
       Which checkpoint of a work dir is the newest good one.

Used by all: ``errors``, ``limits`` (with reasons), ``printable`` (names from
files in messages), ``files``, ``digest``, ``unwrap``. The way back is
``writing``, and ``durable`` for the checkpoints of a run.
"""

import mmcae.namespace_guard  # noqa: F401
