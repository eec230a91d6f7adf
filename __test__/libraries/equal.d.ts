/** Compiles only if two types are the same. */
export declare function expectSame<A, B>(
  same: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false,
): void;
