// @ts-check
/**
 * Runs the model's plan `main` and turns its output `y` into probabilities.
 *
 * The request parameter `sharpness` (default 1) multiplies the logits first. The code is written as if it
 * were alone: the host joins its plan calls with those of other requests.
 */
import {
  batch, dynamic, exportPlugin, InputError, runOp, Signature, softmax, Tensor,
} from '../vendor/sdk/js/aimass.js';
import { Plan } from '../vendor/sdk/js/model.js';

class Glue {
  describe() {
    return new Signature()
      .input('x', 'f32', [batch, dynamic('features')])
      .output('probabilities', 'f32', [batch, dynamic('classes')]);
  }

  process(inputs, parameters) {
    const sharpness = parameters.sharpness ?? 1;
    if (typeof sharpness !== 'number' || !(sharpness >= 0.01 && sharpness <= 100)) {
      throw new InputError('parameter', `sharpness: expected 0.01 to 100, got ${sharpness}`);
    }
    let logits = new Plan('main').run({ x: inputs.get('x') }).y;
    if (sharpness !== 1) {
      [logits] = runOp('mul', [logits, Tensor.f32([1], [sharpness])]);
    }
    return { probabilities: softmax(logits, 1) };
  }
}

export const { init, describe, process } = exportPlugin(() => new Glue());
