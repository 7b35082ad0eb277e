import type { Tensor } from './aimass.js';

/** A compiled plan of the model that the plugin belongs to. */
export class Plan {
  /** Throws `not-found/plan`, which lists the names that exist; a static model has `main`. */
  constructor(name: string);
  /** Runs the plan; inputs and outputs by name. Throws `input/shape`, `deadline/deadline`, … */
  run(inputs: Record<string, Tensor>): Record<string, Tensor>;
}
