// Libraries for Go: redigo, redistore (sessions), go-redis 5, centrifuge (real-time messaging).
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/boj/redistore"
	"github.com/centrifugal/centrifuge"
	"github.com/gomodule/redigo/redis"
	v5 "gopkg.in/redis.v5"
)

func ok(c bool, w ...interface{}) {
	if !c {
		panic(fmt.Sprint("assertion failed: ", w))
	}
}
func must(v interface{}, e error) interface{} { ok(e == nil, e); return v }
func eq(g, w interface{}) {
	ok(reflect.DeepEqual(g, w), "got ", g, " want ", w)
}

func redigo(addr string) {
	dial := func() (redis.Conn, error) {
		return redis.Dial("tcp", addr, redis.DialReadTimeout(5*time.Second),
			redis.DialClientName("redigo"))
	}
	p := &redis.Pool{MaxIdle: 5, MaxActive: 20, Wait: true, IdleTimeout: time.Minute, Dial: dial,
		TestOnBorrow: func(c redis.Conn, t time.Time) error { _, e := c.Do("PING"); return e }}
	defer p.Close()
	c := p.Get()
	defer c.Close()
	must(c.Do("FLUSHALL"))
	eq(must(redis.String(c.Do("SET", "k", "v", "EX", 60, "NX"))), "OK")
	_, e := redis.String(c.Do("SET", "k", "v", "NX"))
	eq(e, redis.ErrNil)
	type U struct {
		Name string `redis:"name"`
		Age  int    `redis:"age"`
	}
	must(c.Do("HSET", redis.Args{}.Add("u").AddFlat(U{"ann ☃", 30})...))
	var u U
	ok(redis.ScanStruct(must(redis.Values(c.Do("HGETALL", "u"))).([]interface{}), &u) == nil)
	eq(u, U{"ann ☃", 30})
	for i := 0; i < 500; i++ {
		c.Send("RPUSH", "l", i)
	}
	c.Flush()
	for i := 0; i < 500; i++ {
		eq(must(redis.Int(c.Receive())), i+1)
	}
	c.Send("MULTI")
	c.Send("INCR", "n")
	c.Send("LPUSH", "k", "x")
	c.Send("GET", "n")
	r := must(redis.Values(c.Do("EXEC"))).([]interface{})
	_, isErr := r[1].(redis.Error)
	ok(isErr && len(r) == 3)
	s := redis.NewScript(1, "return redis.call('INCRBY', KEYS[1], ARGV[1])")
	eq(must(redis.Int(s.Do(c, "n", 4))), 5)
	must(c.Do("SCRIPT", "FLUSH"))
	eq(must(redis.Int(s.Do(c, "n", 4))), 9)
	must(c.Do("ZADD", "z", 1.5, "a", 2, "b"))
	eq(must(redis.StringMap(c.Do("ZRANGE", "z", 0, -1, "WITHSCORES"))),
		map[string]string{"a": "1.5", "b": "2"})
	eq(must(redis.Float64(c.Do("ZSCORE", "z", "a"))), 1.5)
	_, e = c.Do("LPUSH", "k", 1)
	ok(e != nil && e.Error()[:9] == "WRONGTYPE")
	cur, n := 0, 0
	for {
		v := must(redis.Values(c.Do("SCAN", cur, "COUNT", 100))).([]interface{})
		var ks []string
		redis.Scan(v, &cur, &ks)
		n += len(ks)
		if cur == 0 {
			break
		}
	}
	ok(n >= 5, n)
	ps := redis.PubSubConn{Conn: must(redis.Dial("tcp", addr)).(redis.Conn)}
	ps.Subscribe("news")
	ps.PSubscribe("n*")
	var got []string
	done := make(chan bool)
	go func() {
		for {
			switch m := ps.ReceiveWithTimeout(5 * time.Second).(type) {
			case redis.Message:
				got = append(got, m.Pattern+m.Channel+string(m.Data))
				if len(got) == 2 {
					ps.Unsubscribe()
					ps.PUnsubscribe()
				}
			case redis.Subscription:
				if m.Kind == "psubscribe" {
					p2 := p.Get()
					p2.Do("PUBLISH", "news", "hi")
					p2.Close()
				}
				if m.Count == 0 {
					done <- true
					return
				}
			case error:
				panic(m)
			}
		}
	}()
	<-done
	eq(got, []string{"newshi", "n*newshi"})
	var wg sync.WaitGroup
	for w := 0; w < 10; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < 50; i++ {
				x := p.Get()
				must(x.Do("INCR", "conc"))
				x.Close()
			}
		}()
	}
	wg.Wait()
	eq(must(redis.Int(c.Do("GET", "conc"))), 500)
	go func() {
		time.Sleep(100 * time.Millisecond)
		x := p.Get()
		x.Do("RPUSH", "bq", "job")
		x.Close()
	}()
	eq(must(redis.Strings(redis.DoWithTimeout(c, 6*time.Second, "BLPOP", "none", "bq", 5))),
		[]string{"bq", "job"})
}

func sessions(addr string) {
	st := must(redistore.NewRediStore(5, "tcp", addr, "", []byte("secret-key"))).(*redistore.RediStore)
	defer st.Close()
	st.SetMaxAge(100)
	h := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s, _ := st.Get(q, "sid")
		n, _ := s.Values["n"].(int)
		s.Values["n"] = n + 1
		if q.URL.Path == "/out" {
			s.Options.MaxAge = -1
		}
		must(nil, s.Save(q, w))
		fmt.Fprint(w, n+1)
	})
	ck := ""
	get := func(p string) string {
		q := httptest.NewRequest("GET", p, nil)
		if ck != "" {
			q.Header.Set("Cookie", ck)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		if c := w.Result().Cookies(); len(c) > 0 {
			ck = c[0].Name + "=" + c[0].Value
		}
		return w.Body.String()
	}
	eq([]string{get("/"), get("/"), get("/out"), get("/")}[:3], []string{"1", "2", "3"})
}

func goredis5(addr string) {
	c := v5.NewClient(&v5.Options{Addr: addr, DB: 1})
	defer c.Close()
	eq(must(c.Ping().Result()), "PONG")
	eq(must(c.Set("k", "v", time.Minute).Result()), "OK")
	ok(c.TTL("k").Val() > 50*time.Second)
	_, e := c.Get("no").Result()
	eq(e, v5.Nil)
	p := c.Pipeline()
	x := p.Incr("n")
	p.HSet("h", "f", "v")
	must(p.Exec())
	eq(x.Val(), int64(1))
	e = c.Watch(func(tx *v5.Tx) error {
		n, _ := tx.Get("n").Int64()
		_, e := tx.Pipelined(func(p *v5.Pipeline) error {
			p.Set("n", strconv.FormatInt(n+1, 10), 0)
			return nil
		})
		return e
	}, "n")
	ok(e == nil, e)
	eq(c.Get("n").Val(), "2")
	c.ZAdd("z", v5.Z{Score: 2, Member: "b"}, v5.Z{Score: 1, Member: "a"})
	eq(c.ZRevRange("z", 0, -1).Val(), []string{"b", "a"})
	s := v5.NewScript("return {KEYS[1],ARGV[1]}")
	eq(must(s.Run(c, []string{"k"}, "a").Result()), []interface{}{"k", "a"})
	ps, e := c.Subscribe("ch")
	ok(e == nil)
	for c.PubSubNumSub("ch").Val()["ch"] == 0 { // Subscribe does not wait for the reply
		time.Sleep(10 * time.Millisecond)
	}
	must(c.Publish("ch", "msg").Result())
	m, e := ps.ReceiveMessage()
	ok(e == nil && m.Payload == "msg", e)
	ps.Close()
	ks, cur, _ := c.Scan(0, "*", 100).Result()
	ok(len(ks) == 4 && cur == 0, ks)
	ring := v5.NewRing(&v5.RingOptions{Addrs: map[string]string{"a": addr, "b": addr}, DB: 2})
	for i := 0; i < 20; i++ {
		must(ring.Set(fmt.Sprint("r", i), i, 0).Result())
	}
	eq(ring.Get("r7").Val(), "7")
	ring.Close()
}

func realtime(addr string) {
	mk := func(streams bool) (*centrifuge.Node, *centrifuge.RedisPresenceManager) {
		n := must(centrifuge.New(centrifuge.DefaultConfig)).(*centrifuge.Node)
		sh := must(centrifuge.NewRedisShard(n, centrifuge.RedisShardConfig{
			Address: "redis://" + addr + "/3", ConnectTimeout: time.Second,
			ReadTimeout: 5 * time.Second, WriteTimeout: time.Second})).(*centrifuge.RedisShard)
		shards := []*centrifuge.RedisShard{sh}
		b := must(centrifuge.NewRedisBroker(n, centrifuge.RedisBrokerConfig{
			Prefix: fmt.Sprint("c", streams), UseStreams: streams, HistoryMetaTTL: time.Minute,
			Shards: shards})).(*centrifuge.RedisBroker)
		p := must(centrifuge.NewRedisPresenceManager(n, centrifuge.RedisPresenceManagerConfig{
			Prefix: fmt.Sprint("c", streams), Shards: shards})).(*centrifuge.RedisPresenceManager)
		n.SetBroker(b)
		n.SetPresenceManager(p)
		ok(n.Run() == nil)
		return n, p
	}
	for _, streams := range []bool{false, true} {
		a, pm := mk(streams)
		b, _ := mk(streams)
		for i := 0; i < 5; i++ {
			must(a.Publish("chan", []byte(fmt.Sprintf(`{"i":%d}`, i)),
				centrifuge.WithHistory(3, time.Minute)))
		}
		h := must(b.History("chan", centrifuge.WithLimit(-1))).(centrifuge.HistoryResult)
		eq(len(h.Publications), 3)
		eq(string(h.Publications[2].Data), `{"i":4}`)
		eq(h.Offset, uint64(5))
		ok(b.RemoveHistory("chan") == nil)
		ok(pm.AddPresence("chan", "u1", &centrifuge.ClientInfo{ClientID: "u1", UserID: "ann"}) == nil)
		ok(pm.AddPresence("chan", "u2", &centrifuge.ClientInfo{ClientID: "u2", UserID: "ann"}) == nil)
		pr, e := b.Presence("chan")
		ok(e == nil && len(pr.Presence) == 2 && pr.Presence["u1"].UserID == "ann", e)
		st, e := b.PresenceStats("chan")
		ok(e == nil && st.NumClients == 2 && st.NumUsers == 1, e)
		ok(pm.RemovePresence("chan", "u1") == nil)
		pr, _ = b.Presence("chan")
		eq(len(pr.Presence), 1)
		for i := 0; i < 50; i++ { // nodes find each other through pub/sub
			if inf := must(a.Info()).(centrifuge.Info); len(inf.Nodes) == 2 {
				break
			}
			ok(i < 49, "second node not seen")
			time.Sleep(100 * time.Millisecond)
		}
		a.Shutdown(context.Background())
		b.Shutdown(context.Background())
	}
}

func main() {
	redigo(os.Args[1])
	fmt.Println("redigo ok")
	sessions(os.Args[1])
	fmt.Println("redistore ok")
	goredis5(os.Args[1])
	fmt.Println("go-redis v5 ok")
	realtime(os.Args[1])
	fmt.Println("centrifuge ok")
}
