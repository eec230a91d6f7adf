/** A library of this folder, ES module or not. */
export const load = (name) => import(name);
