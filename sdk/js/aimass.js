/**
 * The SDK of AI Mass for JavaScript and TypeScript plugins; `aimass.d.ts` has the documentation.
 *
 * There is no network, no file, no clock and no console. `Math.random` repeats itself.
 */
import { Tensor as HostTensor, run as hostRun } from 'aimass:plugin/tensor@0.1.0';

const ARRAYS = {
  bool: Uint8Array, i8: Int8Array, u8: Uint8Array, i16: Int16Array, u16: Uint16Array,
  i32: Int32Array, u32: Uint32Array, i64: BigInt64Array, u64: BigUint64Array,
  f32: Float32Array, f64: Float64Array,
};
const READ_BYTES_MAX = 16 << 20;

export class PluginError extends Error {
  constructor(family, code, message) {
    super(message);
    this.family = family;
    this.code = code;
  }
}

export class InputError extends PluginError {
  constructor(code, message) {
    super('input', code, message);
  }
}

/** Calls the host; its refusal, which bindings throw with a `payload`, becomes a `PluginError`. */
export function ask(call) {
  try {
    return call();
  } catch (refusal) {
    const error = refusal?.payload;
    if (error?.family === undefined) throw refusal;
    throw new PluginError(error.family, error.code, error.message);
  }
}

/** Any exception as the contract's error; an unexpected one is a defect of the plugin. */
function toHost(error) {
  if (error instanceof PluginError) {
    return { family: error.family, code: error.code, message: error.message };
  }
  if (error?.payload?.family !== undefined) return error.payload;
  const where = String(error?.stack ?? '').split('\n')[0];
  return { family: 'internal', code: 'exception', message: `${error} (${where})` };
}

function byteView(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function dtypeOf(array) {
  const found = Object.keys(ARRAYS).find((name) => name !== 'bool' && array instanceof ARRAYS[name]);
  if (found === undefined) throw new InputError('dtype', 'expected a typed array of numbers');
  return found;
}

export class Tensor {
  constructor(handle) {
    this.handle = handle;
  }

  static raw(dtype, shape, data) {
    return new Tensor(ask(() => HostTensor.create(dtype, BigUint64Array.from(shape, BigInt), data)));
  }

  static of(shape, elements) {
    return Tensor.raw(dtypeOf(elements), shape, byteView(elements));
  }

  static f32(shape, elements) {
    return Tensor.of(shape, Float32Array.from(elements));
  }

  static strings(shape, strings) {
    const encoder = new TextEncoder();
    const parts = Array.from(strings, (s) => (typeof s === 'string' ? encoder.encode(s) : s));
    const offsets = new Uint32Array(parts.length + 1);
    parts.forEach((part, i) => (offsets[i + 1] = offsets[i] + part.length));
    const data = new Uint8Array(offsets[parts.length]);
    parts.forEach((part, i) => data.set(part, offsets[i]));
    const extents = BigUint64Array.from(shape, BigInt);
    return new Tensor(ask(() => HostTensor.createStrings(extents, byteView(offsets), data)));
  }

  get dtype() {
    return this.handle.dtype();
  }

  get shape() {
    return Array.from(this.handle.shape(), Number);
  }

  bytes() {
    const length = Number(this.handle.byteLen());
    const read = (at, count) => ask(() => this.handle.read(BigInt(at), BigInt(count)));
    if (length <= READ_BYTES_MAX) return read(0, length);
    const all = new Uint8Array(length);
    for (let at = 0; at < length; at += READ_BYTES_MAX) {
      all.set(read(at, Math.min(READ_BYTES_MAX, length - at)), at);
    }
    return all;
  }

  elements(dtype) {
    const got = this.dtype;
    if (ARRAYS[got] === undefined || (dtype !== undefined && dtype !== got)) {
      throw new InputError('dtype', `expected a tensor of ${dtype ?? 'numbers'}, got ${got}`);
    }
    const bytes = this.bytes();
    const aligned = bytes.byteOffset % ARRAYS[got].BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
    const count = aligned.byteLength / ARRAYS[got].BYTES_PER_ELEMENT;
    return new ARRAYS[got](aligned.buffer, aligned.byteOffset, count);
  }

  byteStrings() {
    const bytes = ask(() => this.handle.stringOffsets()).slice();
    const offsets = new Uint32Array(bytes.buffer, 0, bytes.byteLength / 4);
    const data = this.bytes();
    return Array.from({ length: offsets.length - 1 }, (_, i) =>
      data.subarray(offsets[i], offsets[i + 1]));
  }

  texts(name = 'tensor') {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    return this.byteStrings().map((string, index) => {
      try {
        return decoder.decode(string);
      } catch {
        throw new InputError('utf-8', `${name}[${index}]: expected UTF-8, got invalid bytes`);
      }
    });
  }

  reshape(shape) {
    return new Tensor(ask(() => this.handle.reshape(BigUint64Array.from(shape, BigInt))));
  }

  rows(start, end) {
    return new Tensor(ask(() => this.handle.rows(BigInt(start), BigInt(end))));
  }

  share() {
    return new Tensor(ask(() => this.handle.share()));
  }
}

export const batch = { tag: 'batch' };
export const ragged = (offsets) => ({ tag: 'ragged', val: offsets });
export const dynamic = (name = '') => ({ tag: 'dynamic', val: name });

function spec(name, dtype, dims, description) {
  const toHost = (dim) => (typeof dim === 'number' ? { tag: 'fixed', val: BigInt(dim) } : dim);
  return { name, dtype: dtype ?? undefined, dims: dims?.map(toHost), description };
}

export class Signature {
  inputs = [];
  outputs = [];

  input(name, dtype, dims, description = '') {
    this.inputs.push(spec(name, dtype, dims, description));
    return this;
  }

  output(name, dtype, dims, description = '') {
    this.outputs.push(spec(name, dtype, dims, description));
    return this;
  }
}

class Inputs {
  constructor(named) {
    this.byName = new Map(named.map(({ name, value }) => [name, new Tensor(value)]));
  }

  get(name) {
    const found = this.byName.get(name);
    if (found === undefined) {
      const known = this.names().join(', ') || 'none';
      throw new InputError('missing-input', `expected an input \`${name}\`, got ${known}`);
    }
    return found;
  }

  has(name) {
    return this.byName.has(name);
  }

  names() {
    return [...this.byName.keys()];
  }
}

/** Names and values as the contract's parameters. */
export function toParameters(values = {}) {
  const toHost = (val) => {
    if (typeof val === 'boolean') return { tag: 'boolean', val };
    if (typeof val === 'string') return { tag: 'text', val };
    if (typeof val !== 'number') return { tag: 'integers', val: BigInt64Array.from(val, BigInt) };
    return Number.isInteger(val) ? { tag: 'integer', val: BigInt(val) } : { tag: 'float', val };
  };
  return Object.entries(values).map(([name, value]) => [name, toHost(value)]);
}

function fromParameters(pairs) {
  const plain = ({ tag, val }) => {
    if (tag === 'integer') return Number(val);
    return tag === 'integers' ? Array.from(val, Number) : val;
  };
  return Object.fromEntries(pairs.map(([name, value]) => [name, plain(value)]));
}

/** Outputs as the contract hands them over; each tensor gives up its handle. */
export function toNamed(outputs) {
  return Object.entries(outputs).map(([name, tensor]) => ({ name, value: tensor.handle }));
}

/** What the contract handed over, by name. */
export function fromNamed(named) {
  return Object.fromEntries(named.map(({ name, value }) => [name, new Tensor(value)]));
}

export function runOp(op, inputs, attributes) {
  const handles = inputs.map((tensor) => tensor.handle);
  const outputs = ask(() => hostRun(op, handles, toParameters(attributes)));
  return outputs.map((handle) => new Tensor(handle));
}

export function softmax(x, axis) {
  return runOp('softmax', [x], { axis })[0];
}

export function exportPlugin(make, config) {
  let plugin;
  return {
    init() {
      try {
        plugin = make(config ? JSON.parse(new TextDecoder().decode(config.get())) : {});
      } catch (error) {
        if (config === undefined) throw error;
        config.reject(toHost(error));
      }
    },
    describe() {
      const { inputs, outputs } = plugin.describe();
      return { inputs, outputs };
    },
    process(inputs, parameters) {
      try {
        return toNamed(plugin.process(new Inputs(inputs), fromParameters(parameters)));
      } catch (error) {
        throw toHost(error);
      }
    },
  };
}
