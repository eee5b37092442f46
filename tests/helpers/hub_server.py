# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A stand-in for the Hugging Face Hub on this machine.

It has the endpoints that huggingface_hub uses to make a repository, upload a
folder, and download a file, and no other.
"""

import base64
import hashlib
import http.server
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOKEN = 'hf_good'
_COMMIT = '0123456789abcdef0123456789abcdef01234567'
_RESOLVE = re.compile(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)')
_API = re.compile(r'/api/models/([^/]+/[^/]+)(/.*)?')


@dataclass
class HubServer:
    """A running stand-in.

    Attributes:
        url: Its address.
        cache: The folder of huggingface_hub's cache.
        repos: The files of each repository by name.
        private: Whether each repository was made as a private one.
        uploads: Objects of large file storage by SHA-256.
        commits: The headers of the commits, in order.
        tampered: Names of files of which another content is sent.
        cut: Whether uploads of large files are cut off.
    """

    url: str
    cache: Path
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict] = field(default_factory=list)
    tampered: set[str] = field(default_factory=set)
    cut: bool = False


def etag_of(name: str, content: bytes) -> str:
    """The hash under which the Hub announces a file."""
    if name.endswith('.safetensors'):
        return hashlib.sha256(content).hexdigest()
    head = b'blob %d\0' % len(content)
    return hashlib.sha1(head + content).hexdigest()


@contextmanager
def hub_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubServer]:
    """Start the stand-in, and use an empty cache in a folder."""
    from huggingface_hub import constants, file_download

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def _send(self, body, status=200, headers=()):
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            if self.command != 'HEAD':
                self.wfile.write(body)

        def _refuse(self, status, code='', message=''):
            headers = {'X-Error-Code': code, 'X-Error-Message': message}
            self._send(b'', status, headers)

        def _body(self):
            return self.rfile.read(int(self.headers['Content-Length'] or 0))

        def _known(self, repo):
            token = self.headers.get('Authorization', '')
            if token not in ('', f'Bearer {TOKEN}'):
                message = 'Invalid credentials in Authorization header'
                self._refuse(401, message=message)
                return False
            if repo is not None and repo not in hub.repos:
                self._refuse(401, 'RepoNotFound', 'Repository not found')
                return False
            return True

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            found = _RESOLVE.fullmatch(self.path)
            if found is None:
                repo = _API.fullmatch(self.path)
                if self._known(repo[1] if repo else None):
                    self._send({'id': repo[1], 'sha': _COMMIT, 'siblings': []})
                return
            repo, revision, name = found.groups()
            if not self._known(repo):
                return
            if revision not in ('main', _COMMIT):
                self._refuse(404, 'RevisionNotFound')
                return
            content = hub.repos[repo].get(name)
            if content is None:
                self._refuse(404, 'EntryNotFound')
                return
            headers = {
                'X-Repo-Commit': _COMMIT,
                'ETag': f'"{etag_of(name, content)}"',
            }
            if name in hub.tampered:
                content = content[:-1] + bytes([content[-1] ^ 1])
            self._send(content, headers=headers)

        def do_POST(self):
            body = self._body()
            repo = _API.fullmatch(self.path)
            if self.path.endswith('/info/lfs/objects/batch'):
                repo = None
            if not self._known(repo[1] if repo else None):
                return
            if self.path == '/api/repos/create':
                asked = json.loads(body)
                name = '/'.join(
                    filter(None, [asked.get('organization'), asked['name']])
                )
                hub.repos.setdefault(name, {})
                hub.private[name] = bool(
                    asked.get('private')
                    or asked.get('visibility') == 'private'
                )
                self._send({'url': f'{hub.url}/{name}', 'id': name})
            elif self.path == '/api/validate-yaml':
                self._send({'errors': [], 'warnings': []})
            elif self.path.endswith('/batch'):
                self._send(self._batch(json.loads(body)))
            elif '/preupload/' in self.path:
                self._send(self._preupload(json.loads(body)))
            elif '/commit/' in self.path:
                self._commit(repo[1], body)
                address = f'{hub.url}/{repo[1]}/commit/{_COMMIT}'
                self._send({'commitUrl': address, 'commitOid': _COMMIT})
            else:
                self._refuse(404)

        def _preupload(self, asked):
            kinds = {True: 'lfs', False: 'regular'}
            return {
                'files': [
                    {
                        'path': file['path'],
                        'uploadMode': kinds[
                            file['path'].endswith('.safetensors')
                        ],
                        'shouldIgnore': False,
                    }
                    for file in asked['files']
                ]
            }

        def _batch(self, asked):
            objects = []
            for item in asked['objects']:
                href = f'{hub.url}/upload/{item["oid"]}'
                known = item['oid'] in hub.uploads
                actions = {} if known else {'upload': {'href': href}}
                objects.append({**item, 'actions': actions})
            return {'transfer': 'basic', 'objects': objects}

        def do_PUT(self):
            if hub.cut:
                self.rfile.read(100)
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            content = self._body()
            oid = self.path.rpartition('/')[2]
            assert hashlib.sha256(content).hexdigest() == oid
            hub.uploads[oid] = content
            self._send(b'')

        def _commit(self, repo, body):
            for line in body.decode().splitlines():
                item = json.loads(line)
                value = item['value']
                if item['key'] == 'header':
                    hub.commits.append(value)
                elif item['key'] == 'file':
                    content = base64.b64decode(value['content'])
                    hub.repos[repo][value['path']] = content
                elif item['key'] == 'lfsFile':
                    content = hub.uploads[value['oid']]
                    hub.repos[repo][value['path']] = content

        def log_message(self, *args):
            pass

    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    hub = HubServer(
        f'http://127.0.0.1:{web.server_address[1]}', folder / 'hub_cache'
    )
    monkeypatch.setenv('HF_ENDPOINT', hub.url)
    # huggingface_hub has read the variable when it was imported.
    monkeypatch.setattr(constants, 'ENDPOINT', hub.url)
    for module in (constants, file_download):
        name = 'HUGGINGFACE_CO_URL_TEMPLATE'
        path = getattr(constants, name).partition('/{')[2]
        monkeypatch.setattr(module, name, f'{hub.url}/{{{path}', raising=False)
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(hub.cache))
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True, raising=False)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
        monkeypatch.delenv(name, raising=False)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield hub
    web.shutdown()
    web.server_close()
