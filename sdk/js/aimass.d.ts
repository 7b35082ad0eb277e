/** The SDK of AI Mass for JavaScript and TypeScript plugins: types of `aimass.js`. */

/** Element types, by the contract's names; `bytes` are strings. */
export type DType =
  | 'bool' | 'i4' | 'u4' | 'i8' | 'u8' | 'i16' | 'u16' | 'i32' | 'u32' | 'i64' | 'u64'
  | 'f8-e4m3' | 'f8-e5m2' | 'f8-e4m3-fnuz' | 'f8-e5m2-fnuz' | 'bf16' | 'f16' | 'f32' | 'f64' | 'bytes';

/** Arrays that elements are read into and written from, row-major. */
export type Elements =
  | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array
  | BigInt64Array | BigUint64Array | Float32Array | Float64Array;

/** A number is a fixed extent; see `batch`, `ragged` and `dynamic` for the others. */
export type Dim = number | { tag: string; val?: unknown };

export type Family =
  | 'input' | 'not-found' | 'limit' | 'unsupported' | 'forbidden' | 'cancelled' | 'deadline'
  | 'unavailable' | 'internal';

/** What a plugin throws instead of an answer; only the family `input` is the client's fault (400). */
export class PluginError extends Error {
  /** `code` in kebab-case, at most 64 bytes; `message` says what was expected, what came. */
  constructor(family: Family, code: string, message: string);
  family: Family;
  code: string;
}

/** The caller's input is at fault. */
export class InputError extends PluginError {
  constructor(code: string, message: string);
}

/** An immutable tensor in host memory, of at most 8 extents. */
export class Tensor {
  /** Elements of a typed array under `shape`; throws `input/byte-count`. One copy. */
  static of(shape: number[], elements: Elements): Tensor;
  /** As `of`, from numbers as 32-bit floats. */
  static f32(shape: number[], elements: ArrayLike<number>): Tensor;
  /** Raw bytes of any dtype but `bytes`. */
  static raw(dtype: DType, shape: number[], data: Uint8Array): Tensor;
  /** A `bytes` tensor of UTF-8 texts or byte strings; throws `input/shape`. */
  static strings(shape: number[], strings: Iterable<string | Uint8Array>): Tensor;
  readonly dtype: DType;
  readonly shape: number[];
  /** Bytes of the elements; of `bytes` the joined strings. One copy. */
  bytes(): Uint8Array;
  /** The elements in a typed array of their dtype; throws `input/dtype` if it is not `dtype`. */
  elements(dtype?: DType): Elements;
  /** The strings of a `bytes` tensor. */
  byteStrings(): Uint8Array[];
  /** As `byteStrings`, decoded; `name` is what a message calls the tensor. Throws `input/utf-8`. */
  texts(name?: string): string[];
  /** The same elements under another shape; nothing is copied. */
  reshape(shape: number[]): Tensor;
  /** Rows `start..end` of axis 0; nothing is copied. */
  rows(start: number, end: number): Tensor;
  /** Another handle of the same tensor; nothing is copied. */
  share(): Tensor;
}

/** Tensors of a request by name. */
export interface Inputs {
  /** Throws `input/missing-input`. */
  get(name: string): Tensor;
  has(name: string): boolean;
  names(): string[];
}

export type Parameters = Record<string, boolean | number | string | number[]>;
export type Outputs = Record<string, Tensor>;

/** Inputs and outputs in order; built by chaining. `null` accepts any dtype or shape. */
export class Signature {
  input(name: string, dtype: DType | null, dims: Dim[] | null, description?: string): Signature;
  output(name: string, dtype: DType | null, dims: Dim[] | null, description?: string): Signature;
}

/** Independent items, one row each; calls may be joined along it. */
export const batch: Dim;
/** Sequences one after the other, by the offsets in the input of this name. */
export function ragged(offsets: string): Dim;
/** Any extent; equal names mean equal extents within one call. */
export function dynamic(name?: string): Dim;

/** Runs one op of the host on tensors, by its name in the contract. */
export function runOp(op: string, inputs: Tensor[], attributes?: Parameters): Tensor[];
/** `e^x / sum(e^x)` along `axis`. */
export function softmax(x: Tensor, axis: number): Tensor;

/** What a plugin of the worlds `processor` and `model` is; made once for a configuration. */
export interface Plugin {
  describe(): Signature;
  process(inputs: Inputs, parameters: Parameters): Outputs;
}

/** The world's exports around `make`, which gets the configuration; throw `InputError` to refuse it. */
export function exportPlugin(
  make: (config: any) => Plugin,
  config?: { get(): Uint8Array; reject(reason: unknown): void },
): { init(): void; describe(): unknown; process(inputs: unknown, parameters: unknown): unknown };
