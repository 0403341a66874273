// The segment builder: conditions as sentences in groups, a count that follows. Alpine comes with the admin.
"use strict";

document.addEventListener("alpine:init", () => {
  Alpine.data("segment", () => {
    const builder = JSON.parse(document.getElementById("builder").textContent);
    const DEEPEST = builder.deepest;
    const WORDED = ["texts", "tags"]; // lists, written with commas between
    let nextKey = 1;
    // Keys are for the page alone: lists that are edited need to know their rows apart.
    const keyed = (node) => {
      const copy = { ...node, key: nextKey++ };
      if (copy.rules) copy.rules = copy.rules.map(keyed);
      else if (typeof copy.value === "boolean") copy.value = copy.value ? "yes" : "no";
      else if (Array.isArray(copy.value) && copy.value.some((each) => typeof each === "string")) {
        copy.value = copy.value.join(", ");
      }
      return copy;
    };
    return {
      choices: builder.choices,
      rules: keyed({ match: "all", rules: [], not: false, ...builder.rules }),
      suggestions: {},
      count: null,
      sentence: "",
      people: [],
      problems: {},
      problem: "",
      said: "",
      busy: false,
      latest: 0,
      urls: {},
      token: "",

      init() {
        // Kept here: what is called from within a row has the row for its root.
        this.urls = { ...this.$root.dataset };
        this.token = this.$root.querySelector("[name=csrfmiddlewaretoken]").value;
        this.$watch("rules", () => this.later());
        if (this.rules.rules.length) this.look();
        else this.add(this.rules);
      },

      // --- What there is to choose from ---
      get groups() {
        const names = [...new Set(this.choices.map((each) => each.group))];
        return names.map((name) => ({ name, fields: this.choices.filter((each) => each.group === name) }));
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
      isOf(rule, ...kinds) {
        return kinds.includes(this.kindOf(rule));
      },
      emptyValue(rule) {
        const kind = this.kindOf(rule);
        const empty = { numbers: ["", ""], choice_days: ["", 30], boolean: "yes", days: 30, none: null };
        return kind in empty ? empty[kind] : "";
      },
      fieldChanged(rule) {
        rule.op = this.opsOf(rule)[0].op;
        rule.value = this.emptyValue(rule);
      },
      opChanged(rule, before) {
        const kind = this.kindOf(rule);
        const plain = ["text", "texts", "tag", "tags"];
        if (kind !== before && !(plain.includes(kind) && plain.includes(before))) rule.value = this.emptyValue(rule);
      },
      async suggest(rule) {
        if (this.suggestions[rule.field]) return;
        this.suggestions[rule.field] = [];
        const url = `${this.urls.suggest}?field=${encodeURIComponent(rule.field)}`;
        const answer = await fetch(url).then((response) => (response.ok ? response.json() : null), () => null);
        if (answer) this.suggestions[rule.field] = answer.values;
      },

      // --- The tree, as rows one under the other ---
      get rows() {
        const rows = [];
        const walk = (group, depth, place) => {
          group.rules.forEach((node, at) => {
            const here = [...place, at];
            rows.push({ node, group, at, depth, place: here.join("."), key: node.key });
            if (node.rules) walk(node, depth + 1, here);
          });
          if (depth > 1) rows.push({ end: group, depth, key: -group.key });
        };
        walk(this.rules, 1, []);
        return rows;
      },
      add(group) {
        const rule = { key: nextKey++, field: builder.first, op: "", value: "" };
        this.fieldChanged(rule);
        group.rules.push(rule);
      },
      addGroup(group) {
        group.rules.push({ key: nextKey++, match: "any", not: false, rules: [] });
        this.add(group.rules.at(-1));
      },
      remove(row) {
        row.group.rules.splice(row.at, 1);
        this.said = "Removed.";
      },
      duplicate(row) {
        row.group.rules.splice(row.at + 1, 0, keyed(this.plain(row.node)));
        this.said = "Duplicated.";
      },
      depthOf(node) {
        return node.rules ? 1 + Math.max(0, ...node.rules.map((each) => this.depthOf(each))) : 0;
      },
      // One step up or down: past a condition, into a group, or out of one at its end.
      move(row, step) {
        const from = row.group.rules;
        const beside = from[row.at + step];
        const node = from.splice(row.at, 1)[0];
        if (beside && beside.rules && row.depth + 1 + this.depthOf(node) <= DEEPEST) {
          if (step > 0) beside.rules.unshift(node);
          else beside.rules.push(node);
        } else if (beside) {
          from.splice(row.at + step, 0, node);
        } else {
          const around = this.rows.find((each) => each.node === row.group);
          if (around) around.group.rules.splice(around.at + (step > 0 ? 1 : 0), 0, node);
          else from.splice(row.at, 0, node);
        }
        this.said = step > 0 ? "Moved down." : "Moved up.";
        this.$nextTick(() => {
          const name = step > 0 ? "down" : "up";
          document.querySelector(`[data-move="${node.key}-${name}"]`)?.focus();
        });
      },

      // What the server reads: without keys, yes and no as booleans, choices as they were offered.
      plain(node) {
        if (!node.rules) return { field: node.field, op: node.op, value: this.plainValue(node) };
        const group = { match: node.match, rules: node.rules.map((each) => this.plain(each)) };
        return node.not ? { ...group, not: true } : group;
      },
      plainValue(rule) {
        const kind = this.kindOf(rule);
        if (kind === "none") return null;
        if (kind === "boolean") return rule.value === "yes" || rule.value === true;
        if (WORDED.includes(kind)) return String(rule.value).split(",").map((each) => each.trim()).filter(Boolean);
        if (kind === "choice") return this.option(rule, rule.value);
        if (kind === "choice_days") return [this.option(rule, rule.value[0]), rule.value[1]];
        return rule.value;
      },
      option(rule, value) {
        const option = this.optionsOf(rule).find((each) => String(each.value) === String(value));
        return option ? option.value : "";
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
        const answer = await fetch(this.urls.look, {
          method: "POST",
          body,
          headers: { "X-CSRFToken": this.token },
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
