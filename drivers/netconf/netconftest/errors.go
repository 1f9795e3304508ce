package netconftest

import (
	"bytes"
	"encoding/xml"
	"strconv"
)

// Error is an rpc-error (RFC 6241 section 4.3).
type Error struct {
	Type         string // "" is "application"
	Tag          string
	Severity     string // "" is "error"
	AppTag       string
	Path         string
	Message      string
	SessionID    string
	BadElement   string
	BadAttribute string
	BadNamespace string
}

func (e Error) write(b *bytes.Buffer) {
	put := func(name, value, or string) {
		if value == "" {
			value = or
		}
		if value == "" {
			return
		}
		b.WriteString("<" + name + ">")
		xml.EscapeText(b, []byte(value))
		b.WriteString("</" + name + ">")
	}
	b.WriteString("<rpc-error>")
	put("error-type", e.Type, "application")
	put("error-tag", e.Tag, "operation-failed")
	put("error-severity", e.Severity, "error")
	put("error-app-tag", e.AppTag, "")
	put("error-path", e.Path, "")
	put("error-message", e.Message, "")
	if e.SessionID+e.BadElement+e.BadAttribute+e.BadNamespace != "" {
		b.WriteString("<error-info>")
		put("session-id", e.SessionID, "")
		put("bad-attribute", e.BadAttribute, "")
		put("bad-element", e.BadElement, "")
		put("bad-namespace", e.BadNamespace, "")
		b.WriteString("</error-info>")
	}
	b.WriteString("</rpc-error>")
}

func protocolError(tag, element, message string) []Error {
	return []Error{{Type: "protocol", Tag: tag, BadElement: element, Message: message}}
}

func lockDenied(holder int) []Error {
	return []Error{{Type: "protocol", Tag: "lock-denied", SessionID: strconv.Itoa(holder), Message: "the lock is held"}}
}

func outstanding() []Error {
	return []Error{{Type: "protocol", Tag: "in-use", AppTag: "outstanding-confirmed-commit", Message: "a confirmed commit waits"}}
}

func inUse() []Error {
	return []Error{{Type: "protocol", Tag: "in-use", Message: "the datastore is locked or changed by somebody else"}}
}
