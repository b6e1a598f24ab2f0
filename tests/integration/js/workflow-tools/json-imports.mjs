// The language service imports JSON without the attribute that Node asks for (seen with 0.3.61 on Node 20).
import { register } from "node:module";

const hook = `export async function load(url, context, next) {
  return url.endsWith(".json") ? next(url, { ...context, importAttributes: { type: "json" } }) : next(url, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
