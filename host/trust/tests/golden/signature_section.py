"""Makes signature_section.hex: a signed component by an implementation that shares nothing with the crate.

Needs `cryptography` (PyPI). The component holds one custom section `aimass:manifest` with payload `{}`,
the key's seed is 32 bytes of 7.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

key = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
name = b"aimass:manifest"
content = bytes([0, 1 + len(name) + 2, len(name)]) + name + b"{}"
digest = hashlib.sha256(content).digest()
key_id = hmac.new(public, b"key_id", hashlib.sha256).digest()[:12]
record = bytes([12]) + key_id + bytes([1, 64]) + key.sign(b"wasmsig\x01\x01\x01" + digest)
hashes = bytes([1]) + digest + bytes([1, len(record)]) + record
payload = b"\x09signature" + bytes([1, 1, 1, 1, len(hashes)]) + hashes
section = bytes([0, len(payload) % 128 | 128, len(payload) // 128]) + payload
print((b"\0asm\x0d\0\x01\0" + section + content).hex())
