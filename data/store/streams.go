package store

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/router"
	"github.com/pocketbase/pocketbase/tools/search"
	"github.com/pocketbase/pocketbase/tools/subscriptions"

	"holdfast/data"
)

// What a stream's client remembers of the key that subscribed it.
const (
	clientActor = "hfActor"
	clientReach = "hfReach"
)

// bindStreams keeps event streams within the reach of the key that subscribes:
// PocketBase checks rules when it broadcasts, which do not bind superusers.
func (s *Store) bindStreams() {
	s.app.OnRealtimeSubscribeRequest().Bind(&hook.Handler[*core.RealtimeSubscribeRequestEvent]{
		Id: "hfSubscribe", Priority: -1000, Func: s.subscribe,
	})
	s.app.OnRealtimeMessageSend().Bind(&hook.Handler[*core.RealtimeMessageEvent]{
		Id: "hfSend", Priority: -1000, Func: s.send,
	})
}

func (s *Store) subscribe(e *core.RealtimeSubscribeRequestEvent) error {
	reach := reachFrom(e.Request.Context())
	actor := requestActor(e.Request.Context(), e.Auth)
	if before, ok := e.Client.Get(clientActor).(data.Actor); ok && before != actor {
		return router.NewForbiddenError("The stream belongs to another credential.", nil)
	}
	if reach.Scope != Public {
		for _, topic := range e.Subscriptions {
			if err := admitTopic(e.App, reach, topic, e.RequestEvent); err != nil {
				return err
			}
		}
		e.Client.Set(clientReach, reach)
		e.Client.Set(clientActor, actor)
	} else if studio, ok := s.pool.issued.find(bearer(e.Request), s.id, s.pool.config.Clock()); ok {
		e.Client.Set(clientReach, Reach{Until: studio.until})
		e.Client.Set(clientActor, studio.actor)
	}
	return e.Next()
}

// admitTopic lets a key subscribe to collections in its reach. Its filter must
// make sense within the reach; expanding is for keys of the whole store.
func admitTopic(app core.App, reach Reach, topic string, e *core.RequestEvent) error {
	refused := router.NewForbiddenError("The API key's reach does not cover this topic.", ErrReach)
	collection, err := app.FindCachedCollectionByNameOrId(topicCollection(topic))
	if err != nil {
		return refused
	}
	options := topicOptions(topic)
	if options["expand"] != "" && reach.Collections != nil {
		return refused
	}
	info, err := e.RequestInfo()
	if err != nil {
		return err
	}
	if filter := options["filter"]; filter != "" {
		if asksSecret(filter) {
			return refused
		}
		resolver := core.NewRecordFieldResolver(app, collection, info, true)
		if _, err := search.FilterData(filter).BuildExpr(resolver); err != nil {
			return refused
		}
	}
	return nil
}

// topicCollection is the part of "items/*?options=..." before the first / or ?.
func topicCollection(topic string) string {
	if i := strings.IndexAny(topic, "/?"); i >= 0 {
		return topic[:i]
	}
	return topic
}

func topicOptions(topic string) map[string]string {
	var raw struct {
		Query map[string]any `json:"query"`
	}
	if u, err := url.Parse(topic); err == nil {
		_ = json.Unmarshal([]byte(u.Query().Get("options")), &raw) // as PocketBase: what is not JSON is no option
	}
	out := map[string]string{}
	for k := range raw.Query {
		if text, ok := raw.Query[k].(string); ok {
			out[k] = text
		} else {
			out[k] = "?" // an odd type: refused as a filter, present as an expand
		}
	}
	return out
}

// send drops what has left a key's reach since it subscribed.
func (s *Store) send(e *core.RealtimeMessageEvent) error {
	reach, ok := e.Client.Get(clientReach).(Reach)
	if !ok || e.Message.Name == "PB_CONNECT" {
		return e.Next()
	}
	if !reach.Until.IsZero() && !s.pool.config.Clock().Before(reach.Until) {
		s.app.SubscriptionsBroker().Unregister(e.Client.Id())
		return nil
	}
	c, err := s.app.FindCachedCollectionByNameOrId(topicCollection(e.Message.Name))
	if err != nil || !reach.covers(c) {
		return nil
	}
	return e.Next()
}

// Disconnect ends the event streams and the studio's tokens of an actor in a store, as
// when its key is revoked or its role ends. A store that is not open has no streams.
func (p *Pool) Disconnect(id data.StoreID, actor data.Actor) {
	p.issued.end(id, actor)
	p.mu.Lock()
	e := p.stores[id]
	var s *Store
	if e != nil {
		s = e.store
	}
	p.mu.Unlock()
	if s == nil {
		return
	}
	broker := s.app.SubscriptionsBroker()
	for id, client := range broker.Clients() {
		if isOf(client, actor) {
			broker.Unregister(id)
		}
	}
}

func isOf(client subscriptions.Client, actor data.Actor) bool {
	a, ok := client.Get(clientActor).(data.Actor)
	return ok && a == actor
}
