"""Addresses of servers, as providers, secret files and people write them."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.loopback import make_certificate
from uow import Database
from uow.broker.redis import connect
from uow.errors import SettingsError
from uow.settings.environment import load_settings
from uow.urls import postgres, redis
from uow.urls.engine import Address
from uow.urls.libpq import LibpqAddress

CANARY = "canary"
"""In each password: it is in no message."""


@pytest.mark.parametrize(
    "around",
    ["{}\n", "{}\r\n", "  {} ", "'{}'", '"{}"\n', "\ufeff{}", "' {}'"],
)
def test_what_a_file_or_a_shell_has_put_around_an_address_is_no_part_of_it(
    around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_DATABASE_URL", around.format("postgres://u:p@h:5433/d"))
    monkeypatch.setenv("WORKER_REDIS_URL", around.format("redis://:p@h:6380/1"))
    settings = load_settings()
    assert settings.redis_url.get_secret_value() == "redis://:p@h:6380/1"
    url = Database.from_settings(settings).engine.url
    assert url == URL.create("postgresql+asyncpg", "u", "p", "h", 5433, "d")


@pytest.mark.parametrize(
    ("login", "user", "password"),
    [
        ("u:p@ss@", "u", "p@ss"),
        ("u:p%40ss@", "u", "p@ss"),
        ("u:a:b@", "u", "a:b"),
        ("u:my pass!$&=+@", "u", "my pass!$&=+"),
        ("u:100%@", "u", "100%"),
        ("u@server:p@", "u@server", "p"),
        ("u@", "u", None),
        (":p@", None, "p"),
        ("", None, None),
    ],
)
def test_a_password_need_not_be_encoded_where_it_is_clear_what_is_meant(
    login: str, user: str | None, password: str | None
) -> None:
    found = postgres.read(f"postgresql://{login}h:1/d")
    assert (found.user, found.password, found.hosts, found.database) == (
        user, password, (("h", 1),), "d",
    )  # fmt: skip
    options = connect(redis.canonical(f"redis://{login}h:1/2")).connection_pool.connection_kwargs
    assert (options.get("username"), options.get("password")) == (user, password)
    assert (options["host"], options["port"], options["db"]) == ("h", 1, 2)


@pytest.mark.parametrize(
    "rest",
    [
        "u:canary/x@h/d", "u:canary?x@h/d", "u:canary#x@h/d", "u:1/canary@h/d", "u:1?canary@h/d",
        "u:a@canary/x@h/d", "u:a@canary?x=1@h", "u:x@b?canary=1@h/d", "u:p@ canary/d",
        "u:p@h:canary/d", "u:p@h/d#canary", "u:p@h/d?canary", "u:p@h/d?can ary=1",
        "u:canary@h:99999/d", "u:canary@h:0/d", "u:can\nary@h/d", "u:p@canary:5432:1/d",
        "u:p@[canary/d", "u:x?ssl=canary@h/d", "u:x?sslmode=a&socket_timeout=canary@h",
        "u:a@b?ssl=canary@h/d", "u:a@b?ssl=canary&timeout=1@h",
        "u:a@b?ssl_cert_reqs=canary&x=1@h/d",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
def test_where_it_is_not_clear_one_line_says_what_to_write_and_nothing_of_the_password(
    scheme: str, rest: str
) -> None:
    read: Callable[[str], object] = postgres.read if scheme == "postgresql" else redis.canonical
    with pytest.raises(ValueError, match=r"percent-encode .* %2F|in one line") as caught:
        read(f"{scheme}://{rest}")
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "mysql://u:canary@h/d", "jdbc:postgresql://h/d?password=canary", "u:canary@h/d",
        "psql 'postgresql://u:canary@h/d'", "host=h password=canary", "postgresql+psycopg://u:canary@h",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_postgres_is_told_how_one_looks(text: str) -> None:
    with pytest.raises(SettingsError, match=r"starts? with one of .*; write postgresql") as caught:
        Database(text)
    assert CANARY not in str(caught.value)


WORDS: list[tuple[str, dict[str, object], dict[str, str]]] = [
    ("sslmode=require", {"ssl": "require"}, {}),
    ("ssl=verify_full", {"ssl": "verify-full"}, {}),
    ("sslmode=require&channel_binding=prefer", {"ssl": "require"}, {}),
    ("sslmode=verify-full&channel_binding=require", {"ssl": "verify-full"}, {}),
    ("sslmode=require&uselibpqcompat=true&supa=base-pooler.x", {"ssl": "require"}, {}),
    ("application_name=me%20too", {}, {"application_name": "me too"}),
    ("application_name=me@host", {}, {"application_name": "me@host"}),
    ("fallback_application_name=b", {}, {"application_name": "b"}),
    ("application_name=a&fallback_application_name=b", {}, {"application_name": "a"}),
    ("connect_timeout=3", {"timeout": 3.0}, {}),
    ("connect_timeout=0", {"timeout": None}, {}),
    ("options=endpoint%3Dep-x", {}, {"options": "endpoint=ep-x"}),
    ("options=-c search_path=a", {}, {"options": "-c search_path=a"}),
    ("target_session_attrs=read-write", {"target_session_attrs": "read-write"}, {}),
    ("statement_cache_size=0", {"statement_cache_size": 0}, {}),
    ("prepared_statement_cache_size=0", {"prepared_statement_cache_size": 0}, {}),
    ("command_timeout=5", {"command_timeout": 5.0}, {}),
    ("sslnegotiation=direct&sslmode=require", {"ssl": "require", "direct_tls": True}, {}),
    ("gssencmode=disable&sslsni=1&sslcompression=0&client_encoding=utf8", {}, {}),
    ("keepalives=1&keepalives_idle=30&tcp_user_timeout=1&load_balance_hosts=random", {}, {}),
]


@pytest.mark.parametrize(("words", "arguments", "said"), WORDS)
def test_libpqs_words_are_asyncpgs_or_the_servers(
    words: str, arguments: dict[str, object], said: dict[str, str]
) -> None:
    address = Address.read(f"postgres://u:p@h/d?{words}")
    assert address.arguments == arguments
    assert address.server_settings == said
    assert not address.url.query
    assert not address.is_pooled


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("channel_binding=require&sslmode=require", "write sslmode=verify-full&sslrootcert=system"),
        ("sslmode=strict", "has sslmode=strict: write sslmode=require"),
        ("ssl=true", "has ssl=true: write sslmode=require"),
        ("sslmode=require&sslrootcert=system", "write sslmode=verify-full"),
        ("sslrootcert=system&sslcrl=/crl", "write the authority's file"),
        ("pgbouncer=yes", "write pgbouncer=true"),
        ("connection_limit=1", "WORKER_POOL_SIZE"),
        ("schema=mine", "WORKER_DATABASE_SCHEMA"),
        ("target_session_attrs=leader", "write one of any, primary"),
        ("connect_timeout=soon", "connect_timeout=…, which must be a number"),
        ("connect_timeout=-1", "connect_timeout=…, which must be a number"),
        ("statement_cache_size=0.5", "statement_cache_size=…, which must be a whole number"),
        ("gssencmode=require", "asyncpg cannot do that; leave it out"),
        ("client_encoding=latin1", "asyncpg cannot do that; leave it out"),
        ("statement_timeout=5", "the parameter statement_timeout, which .* options=-cname%3Dvalue"),
        ("sslrootcert=/no/such.pem", "sslrootcert=/no/such.pem, unusable: No such file"),
        ("sslcert=/no/cert&sslkey=/no/key", "sslcert=/no/cert and sslkey=/no/key, unusable"),
    ],
)
def test_a_word_that_nobody_can_follow_is_refused_with_what_to_write(
    words: str, advice: str
) -> None:
    with pytest.raises(SettingsError, match=advice) as caught:
        Address.read(f"postgres://u:{CANARY}@h/d?{words}")
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("u:p@h1:5432,h2:5433/d", {"host": "h1,h2", "port": "5432,5433"}),
        ("u:p@h1,h2/d", {"host": "h1,h2", "port": "5432,5432"}),
        ("u:p@[::1]:5,h2/d", {"host": "::1,h2", "port": "5,5432"}),
        ("u:p@/d?host=h1&host=h2&port=1&port=2", {"host": "h1,h2", "port": "1,2"}),
        ("u:p@:1,:2/d?host=h1,h2", {"host": "h1,h2", "port": "1,2"}),
        ("u:p@h0:1/d?host=h1:2,h2", {"host": "h1,h2", "port": "2,1"}),
        ("u:p@/d?host=h1:1&host=h2:2", {"host": "h1,h2", "port": "1,2"}),
        ("u:p@/d?host=h1,h2&port=1,2", {"host": "h1,h2", "port": "1,2"}),
        ("u:p@/d?host=h1,h2&port=1", {"host": "h1,h2", "port": "1,1"}),
    ],
)
def test_of_several_hosts_the_one_is_meant_that_takes_writes(
    text: str, query: dict[str, str]
) -> None:
    address = Address.read(f"postgresql://{text}")
    assert address.url.query == query
    assert address.arguments == {"target_session_attrs": "primary"}
    _, given = Database(address.url).engine.dialect.create_connect_args(address.url)
    assert given["host"] == query["host"].split(",")
    assert given["port"] == [int(port) for port in query["port"].split(",")]


@pytest.mark.parametrize("hosts", ["h1,,h2", "h1,", ",h1"])
def test_a_host_without_a_name_among_several_is_refused(hosts: str) -> None:
    with pytest.raises(SettingsError, match="write host1:5432,host2:5432"):
        Address.read(f"postgresql://u:p@{hosts}/d")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("u@/d?host=/run/postgresql", {"host": "/run/postgresql"}),
        ("u@/d?host=/tmp&port=1", {"host": "/tmp", "port": "1"}),
        ("u:p@:5433/d?host=/run/postgresql", {"host": "/run/postgresql", "port": "5433"}),
        ("u:p@:5433/d?host=/tmp&port=1", {"host": "/tmp", "port": "1"}),
        ("u@%2Frun%2Fpostgresql/d", {"host": "/run/postgresql"}),
        ("u@/d?host=/cloudsql/a:b:c", {"host": "/cloudsql/a:b:c"}),
    ],
)
def test_a_socket_is_a_path(text: str, query: dict[str, str]) -> None:
    assert Address.read(f"postgresql://{text}").url.query == query


@pytest.mark.parametrize("text", ["u@/d?port=6432", "u@:6432/d"])
def test_a_port_without_a_host_is_kept(text: str) -> None:
    url = Address.read(f"postgresql://{text}").url
    _, given = Database(url).engine.dialect.create_connect_args(url)
    assert given == {"user": "u", "database": "d", "port": 6432}


def test_the_login_and_the_place_may_be_words() -> None:
    address = Address.read("postgresql://?user=u@s&password=p&host=h&port=1&dbname=d")
    assert address.url == URL.create("postgresql+asyncpg", "u@s", "p", "h", 1, "d")


def test_a_word_may_have_an_at_sign_behind_a_login_or_written_out() -> None:
    for text in ("u:p@h/d?application_name=me@host", "h/d?application_name=me%40host"):
        assert postgres.read(f"postgres://{text}").server_settings == {
            "application_name": "me@host"
        }


def test_an_address_that_is_a_url_of_sqlalchemys_stays_what_it_is() -> None:
    url = URL.create(
        "postgresql+asyncpg", "u/@", "p?#@ %+", "h", 1, "d x", {"application_name": "a"}
    )
    address = Address.read(url)
    assert address.url == url.difference_update_query(["application_name"])
    assert address.server_settings == {"application_name": "a"}


def test_the_words_of_poolers_are_the_setting() -> None:
    assert Database("postgres://u:p@h/d?pgbouncer=true").pooler
    assert not Database("postgres://u:p@h/d?pgbouncer=false").pooler
    assert not Database("postgres://u:p@h/d?pgbouncer=true", pooler="session").pooler


def test_a_worker_is_not_led_to_a_server_that_takes_no_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "postgres://u:canary@h/d?target_session_attrs=prefer-standby"
    monkeypatch.setenv("WORKER_DATABASE_URL", url)
    with pytest.raises(SettingsError, match="write target_session_attrs=primary") as caught:
        load_settings()
    assert CANARY not in str(caught.value)
    Database(url)  # for a service that only reads


def test_no_verify_encrypts_and_looks_at_no_certificate() -> None:
    for word in ("ssl", "sslmode"):
        context = Address.read(f"postgres://u:p@h/d?{word}=no-verify").arguments["ssl"]
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_the_systems_authorities_are_asked_for_the_name_too() -> None:
    context = Address.read("postgres://u:p@h/d?sslrootcert=system").arguments["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    good, bad = make_certificate(tmp_path), tmp_path / "bad.pem"
    bad.write_text("nothing")
    for url, reader in (
        (f"postgres://u:canary@h/d?sslrootcert={bad}", Address.read),
        (f"postgres://u:canary@h/d?sslcert={bad}&sslkey={good}", Address.read),
        (f"rediss://:canary@h?ssl_ca_certs={bad}", connect),
        (f"rediss://:canary@h?ssl_ca_certs={bad}.not", connect),
        (f"rediss://:canary@h?ssl_certfile={good}&ssl_keyfile={bad}", connect),
    ):
        with pytest.raises(SettingsError, match=f"={bad}.*, unusable") as caught:
            reader(url)
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("valkey://h", "redis://h"),
        ("valkeys://u:p@h:1/2", "rediss://u:p@h:1/2"),
        ("REDIS://h/", "redis://h"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "rediss://h?ssl_cert_reqs=none"),
        ("redis://h:1?db=3&socket_timeout=0.5", "redis://h:1?db=3&socket_timeout=0.5"),
        ("redis://h?socket_timeout=0&socket_connect_timeout=0.0", "redis://h"),
    ],
)
def test_an_address_of_a_redis_is_one_of_redis_pys(text: str, meant: str) -> None:
    assert redis.canonical(text) == meant


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("h:6380,password=canary,ssl=True", "must start with one of redis://.*; write redis://"),
        ("redis-cli -u redis://:canary@h", "must start with one of redis://"),
        ("redis+sentinel://:canary@h/m", "must start with one of redis://"),
        ("redis://:canary@h1:1,h2:2", "names several hosts: write the one"),
        ("unix://:canary@run/redis.sock", "names no path from the root: write .*unix:///path"),
        ("redis://:canary@h/mine", "a database that is no number"),
        ("redis://:canary@h?db=mine", "db=…, which must be a whole number"),
        ("redis://:canary@h?socket_timeout=long", "socket_timeout=…, which must be a number"),
        ("redis://:canary@h?ssl_cert_reqs=none", "no TLS: write rediss://"),
        ("redis://:canary@h?ssl=true", "no TLS: write rediss://"),
        ("rediss://:canary@h?ssl_cert_reqs=no", "ssl_cert_reqs=no: write one of none, optional"),
        ("rediss://:canary@h?ssl_certfile=/x", "ssl_certfile without ssl_keyfile"),
        ("redis://:canary@h?decode_responses=true", "decode_responses, which is unknown: leave"),
        ("redis://:canary@h?timeout=1", "the parameter timeout, which is unknown: leave it out"),
    ],
)
def test_an_address_of_a_redis_that_cannot_be_followed_is_refused_with_what_to_write(
    text: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_REDIS_URL", text)
    with pytest.raises(SettingsError, match=f"WORKER_REDIS_URL: .*{advice}") as caught:
        load_settings()
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", {}),
        ("sslmode=verify-full&sslrootcert=/ca", {"sslmode": "verify-full", "sslrootcert": "/ca"}),
        ("sslmode=no-verify&sslrootcert=/ca", {"sslmode": "require"}),
        ("sslrootcert=system", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("ssl=allow&sslcert=/c&sslkey=/k", {"sslmode": "allow", "sslcert": "/c", "sslkey": "/k"}),
        ("connect_timeout=0.5", {"connect_timeout": 2}),
        ("timeout=7.2&command_timeout=3&statement_cache_size=0", {"connect_timeout": 8}),
        ("sslnegotiation=direct&ssl=require", {"sslnegotiation": "direct", "sslmode": "require"}),
        (
            "options=-csearch_path%3Dshop&application_name=web&target_session_attrs=read-write",
            {
                "options": "-csearch_path=shop", "application_name": "web",
                "target_session_attrs": "read-write",
            },
        ),
        ("keepalives=1&channel_binding=prefer", {}),
    ],
)  # fmt: skip
def test_an_address_says_the_same_in_the_words_of_libpq(words: str, said: object) -> None:
    found = LibpqAddress.read(f"postgresql+asyncpg://u:p%40@h:1/d?{words}", "psycopg")
    assert found.arguments == said
    assert found.url == URL.create("postgresql+psycopg", "u", "p@", "h", 1, "d")


def test_several_hosts_and_a_socket_are_read_by_both_drivers_of_libpq() -> None:
    for driver in ("psycopg", "psycopg2"):
        several = LibpqAddress.read("postgres://u@a,b:2/d", driver)
        assert several.arguments == {"target_session_attrs": "primary"}
        dialect = several.url.get_dialect()()
        _, options = dialect.create_connect_args(several.url)
        assert (options["host"], options["port"]) == ("a,b", "5432,2")
        socket = LibpqAddress.read("postgres:///d?host=/run/postgres", driver).url
        assert dialect.create_connect_args(socket)[1]["host"] == "/run/postgres"


def test_what_is_wrong_with_an_address_is_told_without_its_password() -> None:
    with pytest.raises(SettingsError, match="has the parameter nonsense") as caught:
        LibpqAddress.read(f"postgres://u:{CANARY}@h/d?nonsense=1", "psycopg")
    assert CANARY not in str(caught.value)
