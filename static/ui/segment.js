// The segment builder: conditions as sentences, a count that follows. Alpine comes with the admin.
"use strict";

document.addEventListener("alpine:init", () => {
  Alpine.data("segment", () => {
    const builder = JSON.parse(document.getElementById("builder").textContent);
    let nextKey = 1;
    // Keys are for the page alone: lists that are edited need to know their rows apart.
    const keyed = (node) => {
      const copy = { ...node, key: nextKey++ };
      if (copy.rules) copy.rules = copy.rules.map(keyed);
      if (typeof copy.value === "boolean") copy.value = copy.value ? "yes" : "no";
      return copy;
    };
    return {
      choices: builder.choices,
      rules: { match: "all", rules: [], ...keyed(builder.rules) },
      count: null,
      sentence: "",
      people: [],
      problems: {},
      problem: "",
      busy: false,
      latest: 0,

      init() {
        this.$watch("rules", () => this.later());
        if (this.rules.rules.length) this.look();
        else this.add(this.rules.rules);
      },
      fieldOf(rule) {
        return this.choices.find((each) => each.field === rule.field) || this.choices[0];
      },
      opsOf(rule) {
        return this.fieldOf(rule).ops;
      },
      optionsOf(rule) {
        return this.fieldOf(rule).options;
      },
      kindOf(rule) {
        const op = this.opsOf(rule).find((each) => each.op === rule.op);
        return op ? op.value : "none";
      },
      emptyValue(rule) {
        const kind = this.kindOf(rule);
        return { numbers: ["", ""], boolean: "yes", none: null }[kind] ?? (kind === "none" ? null : "");
      },
      fieldChanged(rule) {
        rule.op = this.opsOf(rule)[0].op;
        rule.value = this.emptyValue(rule);
      },
      opChanged(rule) {
        const isSame = Array.isArray(rule.value) === (this.kindOf(rule) === "numbers");
        if (!isSame || this.kindOf(rule) === "none" || rule.value === null) {
          rule.value = this.emptyValue(rule);
        }
      },
      add(rules) {
        const rule = { key: nextKey++, field: this.choices[0].field, op: "", value: "" };
        this.fieldChanged(rule);
        rules.push(rule);
      },
      addGroup() {
        const group = { key: nextKey++, match: "any", rules: [] };
        this.rules.rules.push(group);
        this.add(this.rules.rules.at(-1).rules);
      },
      // What the server reads: without keys, yes and no as booleans, choices as they were offered.
      plain(node) {
        if (node.rules) return { match: node.match, rules: node.rules.map((each) => this.plain(each)) };
        return { field: node.field, op: node.op, value: this.plainValue(node) };
      },
      plainValue(rule) {
        const kind = this.kindOf(rule);
        if (kind === "none") return null;
        if (kind === "boolean") return rule.value === "yes" || rule.value === true;
        if (kind === "choice") {
          const option = this.optionsOf(rule).find((each) => String(each.value) === String(rule.value));
          return option ? option.value : "";
        }
        return rule.value;
      },
      later() {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.look(), 350);
      },
      async look() {
        const turn = ++this.latest;
        if (!this.rules.rules.length) {
          this.count = null;
          return;
        }
        this.busy = true;
        const body = new FormData();
        body.set("rules", JSON.stringify(this.plain(this.rules)));
        const token = this.$root.querySelector("[name=csrfmiddlewaretoken]").value;
        const answer = await fetch(this.$root.dataset.look, {
          method: "POST",
          body,
          headers: { "X-CSRFToken": token },
        }).then((response) => (response.ok ? response.json() : null), () => null);
        if (turn !== this.latest) return; // a later edit asked again
        this.busy = false;
        Object.assign(this, answer || {
          count: null, people: [], problems: {}, problem: "The count did not arrive: check the connection.",
        });
      },
    };
  });
});
