// A stand-in for the AI binding of a Worker, as far as it matters for log ids, answers and feedback: it keeps what it
// knows of the last call alone, goes by the options of the call that was begun last, and calls what is not there an
// AiGatewayLogNotFound.

export class Service {
  #answers;
  #logs = new Map();
  #requests = [];
  #cached = new Set();
  #turns = [];
  #answered = 0;

  constructor(answers) {
    this.#answers = answers;
  }

  // What tests ask and say; as JSON, so that both sides read it alike.

  log(id) {
    return JSON.stringify(this.#logs.get(id) ?? null);
  }

  ids() {
    return JSON.stringify([...this.#logs.keys()]);
  }

  requests() {
    return JSON.stringify(this.#requests);
  }

  // How the next requests for logs go: "early", "hang", or the message of an error.
  next(...turns) {
    this.#turns.push(...turns);
  }

  async answer(model, inputs, options) {
    do {
      await new Promise((done) => setTimeout(done, 1));
    } while (this.#answered < (inputs.after ?? 0));
    this.#answered += 1;
    const canned = this.#answers[model];
    if (canned === undefined) throw new Error(`no route to ${model}`);
    const headers = { "cf-ai-req-id": `request-for-${model}` };
    if (!canned.empty) headers["content-type"] = canned.type ?? "application/json";
    const { gateway } = options;
    if (gateway?.id && gateway.collectLog !== false) {
      headers["cf-aig-log-id"] = this.#logged(model, gateway);
      headers["cf-aig-cache-status"] = this.#cached.has(gateway.cacheKey) ? "HIT" : "MISS";
      if (gateway.cacheKey) this.#cached.add(gateway.cacheKey);
    }
    const body = canned.empty ? null : (canned.text ?? JSON.stringify(canned.echo ? inputs : canned.json));
    const response = new Response(body, { status: canned.status ?? 200, headers });
    Object.defineProperty(response, "url", { value: "https://workers-binding.ai/ai-gateway/run" });
    return canned.frozen ? Object.freeze(response) : response;
  }

  #logged(model, gateway) {
    const id = `01JADMCQQQBWH3NXZ5GCRN${String(this.#logs.size).padStart(4, "0")}`;
    const metadata = gateway.metadata ? JSON.stringify(gateway.metadata) : null;
    this.#logs.set(id, { id, gateway: gateway.id, model, metadata, created_at: "2026-11-24T10:00:00Z" });
    return id;
  }

  async request(method, gateway, id, body) {
    this.#requests.push({ method, gateway, id, ...(body === undefined ? {} : { body: JSON.parse(body) }) });
    const turn = this.#turns.shift();
    if (turn === "hang") await new Promise((done) => setTimeout(done, 600_000).unref());
    if (turn !== undefined && turn !== "early") throw named("AiGatewayInternalError", turn);
    const log = this.#logs.get(id);
    if (turn === "early" || log?.gateway !== gateway) throw named("AiGatewayLogNotFound", "Not Found");
    Object.assign(log, body === undefined ? {} : JSON.parse(body));
    if (typeof log.metadata === "object" && log.metadata !== null) log.metadata = JSON.stringify(log.metadata);
    return log;
  }
}

export class Ai {
  #service;
  #options = {};
  lastRequestId = null;
  aiGatewayLogId = null;
  lastRequestHttpStatusCode = null;
  lastRequestInternalStatusCode = null;

  constructor(service) {
    this.#service = service;
  }

  async run(model, inputs, options = {}) {
    this.#options = options;
    const response = await this.#service.answer(model, inputs, JSON.parse(JSON.stringify(options)));
    this.lastRequestId = response.headers.get("cf-ai-req-id");
    this.aiGatewayLogId = response.headers.get("cf-aig-log-id");
    this.lastRequestHttpStatusCode = response.status;
    if (this.#options.returnRawResponse || this.#options.websocket) return response;
    if (!response.ok || !response.body) throw this.#error(await response.text());
    return response.headers.get("content-type") === "application/json" ? response.json() : response.body;
  }

  #error(text) {
    let told;
    try {
      told = JSON.parse(text);
    } catch {
      return named("InferenceUpstreamError", text);
    }
    if (told.internalCode) {
      this.lastRequestInternalStatusCode = told.internalCode;
      return named(told.name ?? "InferenceUpstreamError", `${told.internalCode}: ${told.description}`);
    }
    const first = told.errors?.[0];
    return named("InferenceUpstreamError", first?.code ? `${first.code}: ${first.message}` : text);
  }

  gateway(id) {
    return new AiGateway(this.#service, id);
  }
}

class AiGateway {
  #service;
  #id;

  constructor(service, id) {
    this.#service = service;
    this.#id = id;
  }

  async getLog(id) {
    const log = await this.#service.request("GET", this.#id, id);
    return { ...log, created_at: new Date(log.created_at) };
  }

  async patchLog(id, data) {
    await this.#service.request("PATCH", this.#id, id, JSON.stringify(data));
  }
}

function named(name, message) {
  return Object.assign(new Error(message), { name });
}
