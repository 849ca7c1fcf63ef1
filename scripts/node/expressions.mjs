// Evaluates expressions as GitHub does, with GitHub's own library: a line of JSON in, a line of JSON out.
import { createInterface } from "node:readline";
import { Evaluator, Lexer, Parser, data } from "@actions/expressions";

const STATUS = ["always", "success", "failure", "cancelled"];

function evaluate({ text, contexts, status }) {
  const functions = STATUS.map((name) => ({ name, minArgs: 0, maxArgs: 0, call: () => new data.BooleanData(status[name]) }));
  const known = JSON.parse(JSON.stringify(contexts), data.reviver);
  const parsed = new Parser(new Lexer(text).lex().tokens, Object.keys(contexts), functions).parse();
  const result = new Evaluator(parsed, known, new Map(functions.map((each) => [each.name, each]))).evaluate();
  return { value: JSON.parse(JSON.stringify(result, data.replacer)), text: result.coerceString() };
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = evaluate(JSON.parse(line));
  } catch (error) {
    answer = { error: error.message };
  }
  console.log(JSON.stringify(answer));
}
