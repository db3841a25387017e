"""From pictures of a user to a data set in the store."""

from pathlib import Path
from typing import TYPE_CHECKING

from ganservice.cli.meter import Meter
from ganservice.cli.output import say
from workers.commands.image_storage import check_data_set_name, store_image_files
from workers.commands.interrupt import one_interrupt

if TYPE_CHECKING:
    from ganservice.manifest import DataManifest
    from ganservice.settings import Settings
    from workers.gan.data.import_options import Options


def bring_pictures(
    settings: "Settings", path: Path, name: str, options: "Options", labels: str | None
) -> "DataManifest":
    """Bring the pictures of a folder, an archive or a table into the store, and return their manifest.

    Whatever ends it, the same call goes on from there. SIGTERM ends it as Ctrl-C does; so only for the main thread.
    Raises RequestError, DataInvalid, DiskFull, StoreOutage.
    """
    from workers.gan.data.any_source import open_source
    from workers.gan.data.importing import import_pictures
    from workers.gan.data.layout import read_layout
    from workers.gan.data.work_folder import is_kept, key_of, work_folder

    check_data_set_name(name)
    with one_interrupt(), open_source(path) as source:
        layout = read_layout(source, labels)
        for line in layout.lines:
            say(line)
        with work_folder(settings.cache_dir, key_of(source, layout, options.target)) as folder:
            try:
                with Meter("pictures") as meter:
                    images = import_pictures(source, layout, options, folder, meter.say, meter.proceed)
                return store_image_files(settings, images, name)
            except KeyboardInterrupt:
                say("interrupted" + ("; the same command goes on from there" if is_kept(folder) else ""))
                raise
