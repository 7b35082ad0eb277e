/** World `model`: plans of the model. plugin.toml asks for `plans`. `model.d.ts` documents it. */
import { get } from 'aimass:plugin/plans@0.1.0';
import { ask, fromNamed } from './aimass.js';

export class Plan {
  constructor(name) {
    this.plan = ask(() => get(name));
  }

  run(inputs) {
    const borrowed = Object.entries(inputs).map(([name, tensor]) => [name, tensor.handle]);
    return fromNamed(ask(() => this.plan.run(borrowed, undefined)));
  }
}
