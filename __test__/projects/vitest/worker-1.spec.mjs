import { flow } from "./flow.mjs";

flow();
