// The search of the built site without a browser: node site_search.js SITE QUESTION ... prints [question, pages], best first.
const fs = require("fs"), path = require("path"), vm = require("vm");
const [site, ...questions] = process.argv.slice(2);
const folder = path.join(site, "assets/javascripts/workers");
const worker = fs.readFileSync(path.join(folder, fs.readdirSync(folder).find((name) => name.endsWith(".min.js"))), "utf8");
const index = JSON.parse(fs.readFileSync(path.join(site, "search/search_index.json"), "utf8"));
let hear, tell;
const scope = vm.createContext({ location: { href: "file:///assets/javascripts/workers/search.js" }, addEventListener: (kind, call) => (hear = call), postMessage: (message) => tell(message), console, URL });
scope.self = scope;
vm.runInContext(worker, scope);
const ask = (data) => new Promise((resolve) => { tell = resolve; hear({ data }); });
(async () => {
  index.options = { suggest: false };
  await ask({ type: 0, data: index });
  for (const question of questions) {
    const { data } = await ask({ type: 2, data: question });
    const items = data.items.map((group) => group[0].location.replace(/#.*/, ""));
    console.log(JSON.stringify([question, items.slice(0, 5)]));
  }
})();
