"""A process of `encode_in_processes`: ``python -m sadm.training.encoding_worker FILE_DESCRIPTOR TASK``.

For the pixels of each shard it sends ``{"encoded": N}`` after each batch, and ``{}`` followed by the shard's content; or
``{"error": ...}``. It ends when the other side closes the connection, however that comes about.
"""

from __future__ import annotations

import json
import sys
from multiprocessing.connection import Connection

import torch

from sadm.core.errors import UserError
from sadm.models import LatentCodec
from sadm.training.encoding_pool import Task
from sadm.training.moments import encode_shard


def main(connection: Connection, task: Task) -> None:
    """Encodes shards until the connection is closed."""

    def send(message: dict[str, object]) -> None:
        connection.send_bytes(json.dumps(message).encode("utf-8"))

    torch.set_num_threads(1)
    try:
        codec = LatentCodec.from_folder(task.autoencoder)
        while True:
            pixels = torch.frombuffer(bytearray(connection.recv_bytes()), dtype=torch.uint8)
            images = pixels.reshape(-1, *task.shape)
            content = encode_shard(codec, images, task.layout, progress=lambda count: send({"encoded": count}))
            send({})
            connection.send_bytes(content)
    except UserError as error:
        send({"error": str(error)})
    except (EOFError, ConnectionError):
        return


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), Task.from_json(sys.argv[2]))
