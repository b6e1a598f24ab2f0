// jobs.mjs: what GitHub's own parser and expression engine make of workflows that are dispatched.
// In, on stdin: [{"text": WORKFLOW, "inputs": {...}}]. Out: [{"errors", "title", "jobs": [{"name", "labels", "matrix"}]}].
// The expansion of a matrix is not in these packages: `include` alone is a list of jobs, which is all we use.
import { readFileSync } from "node:fs";
import { data, Evaluator, Lexer, Parser } from "@actions/expressions";
import { NoOperationTraceWriter, parseWorkflow } from "@actions/workflow-parser";
import { parse } from "yaml";

function wrapped(value) {
  if (value === null || value === undefined) return new data.Null();
  if (Array.isArray(value)) return new data.Array(...value.map(wrapped));
  if (typeof value === "object") {
    return new data.Dictionary(...Object.entries(value).map(([key, each]) => ({ key, value: wrapped(each) })));
  }
  if (typeof value === "number") return new data.NumberData(value);
  return typeof value === "boolean" ? new data.BooleanData(value) : new data.StringData(value);
}

function evaluate(expression, contexts) {
  const ast = new Parser(new Lexer(expression).lex().tokens, Object.keys(contexts), []).parse();
  return new Evaluator(ast, wrapped(contexts)).evaluate();
}

const plain = (value) => JSON.parse(JSON.stringify(value, data.replacer));

function filled(template, contexts) {
  if (typeof template !== "string") return template;
  const whole = template.match(/^\s*\$\{\{((?:(?!\}\})[^])*)\}\}\s*$/);
  if (whole) return plain(evaluate(whole[1].trim(), contexts));
  return template.replace(/\$\{\{([^]*?)\}\}/g, (_, each) => evaluate(each.trim(), contexts).coerceString());
}

function judged({ text, inputs }) {
  const parsed = parseWorkflow({ name: "w.yml", content: text }, new NoOperationTraceWriter());
  const errors = parsed.context.errors.getErrors().map((error) => error.message);
  if (errors.length) return { errors };
  const workflow = parse(text);
  const jobs = Object.entries(workflow.jobs).flatMap(([id, job]) => {
    const matrix = filled(job.strategy?.matrix, { inputs });
    return (matrix?.include ?? [{}]).map((entry) => ({
      name: filled(job.name ?? id, { inputs, matrix: entry }),
      labels: [filled(job["runs-on"], { inputs, matrix: entry })].flat(),
      matrix: entry,
    }));
  });
  return { errors, title: filled(workflow["run-name"] ?? workflow.name, { inputs }), jobs };
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(judged)));
