package classify

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"bulkhead/inventory"
	"bulkhead/pkg/diag"
)

// rule is one compiled expression.
type rule struct {
	expr    Expr
	root    ast.Expr
	fast    cel.Program // result only
	traced  cel.Program // keeps every part's value, to find out what is missing
	pred    pred        // what an index can say of it; nil if nothing
	exact   bool        // pred says it all
	uses    []use       // labels and attributes that it names
	checked *ast.AST
}

// use is one place where an expression names a label or an attribute.
type use struct {
	field string // "labels.cell"
	pos   diag.Pos
	len   int
}

// compileRule checks an expression, or reports what is wrong with it and
// returns nil.
func compileRule(env *cel.Env, e Expr, diags *diag.List) *rule {
	checked, issues := env.Compile(e.Text)
	if issues != nil && issues.Err() != nil {
		for _, i := range issues.Errors() {
			explain(e, i, diags)
		}
		return nil
	}
	if !checked.OutputType().IsExactType(types.BoolType) {
		d := diags.Errorf(e.Pos, "this expression gives %s, and must give true or false", checked.OutputType())
		d.Len, d.Hint = utf8.RuneCountInString(firstLine(e.Text)), "compare it with something"
		return nil
	}
	r := &rule{expr: e, checked: checked.NativeRep()}
	r.root = r.checked.Expr()
	if !r.inspect(diags) {
		return nil
	}
	var err error
	if r.fast, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost)); err == nil {
		r.traced, err = env.Program(checked, cel.EvalOptions(cel.OptTrackState), cel.CostLimit(maxCost))
	}
	if err != nil {
		diags.Errorf(e.Pos, "this expression cannot be evaluated: %v", err)
		return nil
	}
	r.pred, r.exact = predicate(r.root)
	return r
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// at maps a place in an expression, line from 1 and column from 0 as CEL counts
// them, into the file.
func (e Expr) at(line, col int) diag.Pos {
	p := e.Pos
	if p.Line == 0 {
		return p
	}
	p.Line += max(line-1, 0)
	p.Col += max(col, 0)
	return p
}

var (
	undeclared = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	overload   = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '([^']*)'`)
)

// explain turns one of CEL's complaints into ours.
func explain(e Expr, i *cel.Error, diags *diag.List) {
	msg := strings.TrimSpace(i.Message)
	d := diags.Errorf(e.at(i.Location.Line(), i.Location.Column()), "%s", "")
	if m := undeclared.FindStringSubmatch(msg); m != nil {
		name := m[1]
		d.Len = utf8.RuneCountInString(name)
		if called(e, i, name) {
			d.Message, d.Hint = fmt.Sprintf("unknown function %q", name), diag.DidYouMean(name, functions())
			// CEL points at the parenthesis after the name.
			d.Pos = e.at(i.Location.Line(), i.Location.Column()-d.Len)
			return
		}
		d.Message = fmt.Sprintf("unknown variable %q", name)
		d.Hint = diag.DidYouMean(name, variables())
		if d.Hint == "" {
			d.Hint = fmt.Sprintf("text is written in quotes: %q; the variables are %s", name, strings.Join(variables(), ", "))
		}
		return
	}
	if m := overload.FindStringSubmatch(msg); m != nil {
		d.Message = fmt.Sprintf("%s cannot be applied to %s", functionName(m[1]), m[2])
		d.Hint = "labels and attributes are text, so values to compare them with are in quotes"
		return
	}
	msg = strings.TrimPrefix(msg, "Syntax error: ")
	d.Message = "not a valid expression: " + lowerFirst(firstLine(msg))
	if strings.Contains(msg, "token recognition error at: '= '") || strings.Contains(msg, "token recognition error at: '='") {
		d.Hint = `equality is written "=="`
	}
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// functionName gives an operator as it is written, for messages.
func functionName(s string) string {
	if op, ok := operators.FindReverse(s); ok && op != "" {
		return op
	}
	return strings.Trim(s, "_")
}

// functions lists what can be called in an expression.
func functions() []string {
	return []string{
		"all", "contains", "endsWith", "exists", "exists_one", "filter", "has", "map", "matches", "size", "startsWith", withinMember,
	}
}

// called reports whether the complaint is about a call, from the text around it.
func called(e Expr, i *cel.Error, name string) bool {
	lines := strings.Split(e.Text, "\n")
	n := i.Location.Line() - 1
	if n < 0 || n >= len(lines) {
		return false
	}
	line := []rune(lines[n])
	col := min(max(i.Location.Column(), 0), len(line))
	return strings.HasPrefix(string(line[col:]), "(") && strings.HasSuffix(strings.TrimSpace(string(line[:col])), name)
}

// inspect looks at every node of an expression: it notes the labels and
// attributes that are named, and reports literals that can never be right. It
// reports whether there are none.
func (r *rule) inspect(diags *diag.List) bool {
	ok := true
	ast.PreOrderVisit(r.root, ast.NewExprVisitor(func(e ast.Expr) {
		if f := fieldOf(e); f.name != "" && f.isMap() {
			r.use(e, f)
		}
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		args := call.Args()
		switch {
		case call.FunctionName() == operators.In && len(args) == 2:
			if v, isText := text(args[0]); isText && args[1].Kind() == ast.IdentKind {
				if f := (field{args[1].AsIdent(), v}); f.isMap() {
					r.use(args[0], f)
				}
			}
		case call.FunctionName() == withinMember && len(args) == 1:
			if v, isText := text(args[0]); isText {
				if _, err := inventory.ParsePrefix(v); err != nil {
					d := diags.Errorf(r.pos(args[0]), "%s", err.Error())
					d.Len = utf8.RuneCountInString(v) + 2
					ok = false
				}
			}
		case call.FunctionName() == operators.Equals && len(args) == 2:
			r.checkKind(args[0], args[1], diags)
			r.checkKind(args[1], args[0], diags)
		}
	}))
	return ok
}

func (r *rule) use(e ast.Expr, f field) {
	u := use{field: f.String(), pos: r.pos(e), len: 1}
	// CEL points at a dot, a bracket or a macro's parenthesis before the name.
	loc := r.checked.SourceInfo().GetStartLocation(e.ID())
	if lines := strings.Split(r.expr.Text, "\n"); loc.Line() >= 1 && loc.Line() <= len(lines) {
		line := []rune(lines[loc.Line()-1])
		rest := string(line[min(max(loc.Column(), 0), len(line)):])
		if at := strings.Index(rest, f.name); at >= 0 {
			u.pos = r.expr.at(loc.Line(), loc.Column()+utf8.RuneCountInString(rest[:at]))
			u.len = utf8.RuneCountInString(f.name)
		}
	}
	r.uses = append(r.uses, u)
}

// checkKind warns of a comparison with a kind that there is not.
func (r *rule) checkKind(variable, literal ast.Expr, diags *diag.List) {
	v, ok := text(literal)
	if !ok || variable.Kind() != ast.IdentKind || variable.AsIdent() != varKind {
		return
	}
	var names []string
	for _, k := range inventory.Kinds() {
		names = append(names, string(k))
	}
	if !slices.Contains(names, v) {
		d := diags.Warnf(r.pos(literal), "there is no kind %q", v)
		d.Len, d.Hint = utf8.RuneCountInString(v)+2, diag.DidYouMean(v, names)
	}
}

func (r *rule) pos(e ast.Expr) diag.Pos {
	loc := r.checked.SourceInfo().GetStartLocation(e.ID())
	return r.expr.at(loc.Line(), loc.Column())
}
