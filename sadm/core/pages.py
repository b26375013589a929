"""Pages of one file that load nothing from anywhere: templates that share one style."""

from __future__ import annotations

import functools

import jinja2


@functools.cache
def page_template(package: str, name: str = "template.html.j2") -> jinja2.Template:
    """A template; it may include what lies beside it, ``page.css``, the style that all our pages share, and ``gallery.css``.

    Args:
        package: where the template is, such as "sadm.experiments.report".
        name: of its file.
    """
    loaders = [jinja2.PackageLoader(place, "") for place in (package, "sadm.core")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
