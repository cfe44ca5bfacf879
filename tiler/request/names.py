"""Options of neural-style (Johnson 2015, github.com/jcjohnson/neural-style) by another name here. Those of the same
name (content_weight, style_scale, style_blend_weights, pooling, seed ...) are not listed: they work."""

from __future__ import annotations

# Their name: our key and the value to give it, or a sentence where no option takes its place.
_KEYS = {
    "original_colors": ("color", "content"),
    "init_image": ("init", "FILE"),
    "image_size": ("long_edge", "PX"),
    "num_iterations": ("steps", "N"),
    "model_file": ("weights", "FILE"),
    "gpu": ("device", "cuda (or cpu)"),
    "multigpu_strategy": ("workers", "N, by default one per GPU"),
}
_PICTURES = "pictures are named without an option: tiler render CONTENT STYLE -o POSTER"
_NOT_NEEDED = "nothing like it is needed; leave it out"
_SENTENCES = {
    "save_iter": "not needed; tiler export STORE -o FILE writes a picture at any time",
    "print_iter": "not needed; --log-json tells of every step",
    **dict.fromkeys(("backend", "cudnn_autotune", "proto_file"), _NOT_NEEDED),
    **dict.fromkeys(("normalize_gradients", "lbfgs_num_correction"), _NOT_NEEDED),
}
_ROLES = {"content_image": "content", "style_image": "styles", "output_image": "output"}


def option_for(name: str) -> str | None:
    """What to type in place of neural-style's option `name`; None where it has none of that name, or we have it too."""
    if name in _KEYS:
        key, value = _KEYS[name]
        return f"here it is --{key.replace('_', '-')} {value}"
    return _PICTURES if name in _ROLES else _SENTENCES.get(name)


def key_for(name: str) -> str | None:
    """The same for a key of a job file."""
    if name in _KEYS or name in _ROLES:
        return f"here it is '{_KEYS[name][0] if name in _KEYS else _ROLES[name]}'"
    return _SENTENCES.get(name)
