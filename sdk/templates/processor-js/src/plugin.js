// @ts-check
/// <reference path="../vendor/sdk/js/contract.d.ts" />
/**
 * Replaces the words of a list: `text` [batch] to `redacted` [batch].
 *
 * The constructor runs once for a configuration; every request then starts from the memory that it left.
 */
import * as config from 'aimass:plugin/config@0.1.0';
import { batch, exportPlugin, InputError, Signature, Tensor } from '../vendor/sdk/js/aimass.js';

const MASK_CHARACTERS_MAX = 16;

class Redact {
  constructor({ words = [] }) {
    this.words = new Set(words.map((word) => word.toLowerCase()));
  }

  describe() {
    return new Signature().input('text', 'bytes', [batch]).output('redacted', 'bytes', [batch]);
  }

  process(inputs, parameters) {
    const mask = parameters.mask ?? '***';
    if (typeof mask !== 'string' || mask.length < 1 || mask.length > MASK_CHARACTERS_MAX) {
      const expected = `mask: expected 1 to ${MASK_CHARACTERS_MAX} characters`;
      throw new InputError('parameter', `${expected}, got ${JSON.stringify(mask)}`);
    }
    const text = inputs.get('text');
    const redacted = text.texts('text').map((string) => this.redact(string, mask));
    return { redacted: Tensor.strings(text.shape, redacted) };
  }

  redact(text, mask) {
    // The engine has no Unicode tables (`\p{L}`): what is beyond ASCII belongs to words.
    return text.replace(/[\w\u0080-\uffff]+/g, (word) =>
      this.words.has(word.toLowerCase()) ? mask : word);
  }
}

export const { init, describe, process } = exportPlugin((settings) => new Redact(settings), config);
