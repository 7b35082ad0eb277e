/** Interfaces of the contract that plugins may import directly; `vendor/wit` has their documentation. */
declare module 'aimass:plugin/config@0.1.0' {
  export function get(): Uint8Array;
  export function reject(reason: { family: string; code: string; message: string }): void;
}
declare module 'aimass:plugin/log@0.1.0' {
  export function write(level: 'error' | 'warn' | 'info' | 'debug' | 'trace', message: string): void;
}
declare module 'aimass:plugin/clock@0.1.0' {
  export function monotonicMs(): bigint;
  export function wallMs(): bigint;
  export function remainingMs(): bigint;
}
declare module 'aimass:plugin/random@0.1.0' {
  export function bytes(len: number): Uint8Array;
}
