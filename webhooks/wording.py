"""What the unsubscribe page says, in eight languages, and which one a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from django.utils.translation.trans_real import parse_accept_lang_header

_KEYS = (
    "leave",
    "sender",
    "address",
    "lists",
    "everything",
    "left_title",
    "left_lists",
    "left_everything",
    "on_its_way",
    "mistake",
    "back_title",
    "back",
    "unknown_title",
    "unknown",
    "test_title",
    "test",
)

_TEXTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "en": (
            "Unsubscribe",
            "From",
            "To",
            "Lists",
            "Unsubscribe from everything",
            "You are unsubscribed",
            "You will get no more mail from these lists.",
            "You will get no more mail from this sender.",
            "A mail that is already on its way may still arrive.",
            "It was a mistake: subscribe again",
            "You are subscribed again",
            "Everything is as it was before.",
            "This link does not work",
            "Perhaps it was cut off. Please open the link in the mail once more.",
            "This is a test mail",
            "In a real mail, people unsubscribe here. Nothing was changed.",
        ),
        "de": (
            "Abmelden",
            "Von",
            "An",
            "Listen",
            "Von allem abmelden",
            "Sie sind abgemeldet",
            "Sie erhalten keine E-Mails mehr von diesen Listen.",
            "Sie erhalten keine E-Mails mehr von diesem Absender.",
            "Eine E-Mail, die schon unterwegs ist, kann noch ankommen.",
            "Es war ein Versehen: wieder anmelden",
            "Sie sind wieder angemeldet",
            "Alles ist wie zuvor.",
            "Dieser Link funktioniert nicht",
            "Vielleicht wurde er abgeschnitten. Bitte öffnen Sie den Link in der E-Mail erneut.",
            "Dies ist eine Test-E-Mail",
            "In einer echten E-Mail meldet man sich hier ab. Es wurde nichts geändert.",
        ),
        "fr": (
            "Se désabonner",
            "De",
            "À",
            "Listes",
            "Se désabonner de tout",
            "Vous êtes désabonné",
            "Vous ne recevrez plus d’e-mails de ces listes.",
            "Vous ne recevrez plus d’e-mails de cet expéditeur.",
            "Un e-mail déjà en route peut encore arriver.",
            "C’était une erreur : me réabonner",
            "Vous êtes de nouveau abonné",
            "Tout est comme avant.",
            "Ce lien ne fonctionne pas",
            "Il a peut-être été coupé. Veuillez ouvrir à nouveau le lien dans l’e-mail.",
            "Ceci est un e-mail de test",
            "Dans un vrai e-mail, on se désabonne ici. Rien n’a été modifié.",
        ),
        "es": (
            "Darse de baja",
            "De",
            "Para",
            "Listas",
            "Darse de baja de todo",
            "Se ha dado de baja",
            "No recibirá más correos de estas listas.",
            "No recibirá más correos de este remitente.",
            "Un correo que ya está en camino aún puede llegar.",
            "Fue un error: volver a suscribirme",
            "Vuelve a estar suscrito",
            "Todo está como antes.",
            "Este enlace no funciona",
            "Quizá se cortó. Abra de nuevo el enlace del correo.",
            "Este es un correo de prueba",
            "En un correo real, aquí se da uno de baja. No se ha cambiado nada.",
        ),
        "it": (
            "Annulla l’iscrizione",
            "Da",
            "A",
            "Liste",
            "Annulla tutte le iscrizioni",
            "Iscrizione annullata",
            "Non riceverà più e-mail da queste liste.",
            "Non riceverà più e-mail da questo mittente.",
            "Un’e-mail già in viaggio può ancora arrivare.",
            "È stato un errore: iscrivimi di nuovo",
            "È di nuovo iscritto",
            "Tutto è come prima.",
            "Questo link non funziona",
            "Forse è stato troncato. Apra di nuovo il link nell’e-mail.",
            "Questa è un’e-mail di prova",
            "In un’e-mail vera, qui si annulla l’iscrizione. Non è cambiato nulla.",
        ),
        "pt": (
            "Cancelar a subscrição",
            "De",
            "Para",
            "Listas",
            "Cancelar todas as subscrições",
            "A sua subscrição foi cancelada",
            "Não receberá mais e-mails destas listas.",
            "Não receberá mais e-mails deste remetente.",
            "Um e-mail que já vai a caminho ainda pode chegar.",
            "Foi um engano: subscrever de novo",
            "A sua subscrição está de novo ativa",
            "Está tudo como antes.",
            "Este link não funciona",
            "Talvez tenha sido cortado. Abra de novo o link no e-mail.",
            "Este é um e-mail de teste",
            "Num e-mail verdadeiro, é aqui que se cancela a subscrição. Nada foi alterado.",
        ),
        "nl": (
            "Afmelden",
            "Van",
            "Aan",
            "Lijsten",
            "Voor alles afmelden",
            "U bent afgemeld",
            "U krijgt geen e-mail meer van deze lijsten.",
            "U krijgt geen e-mail meer van deze afzender.",
            "Een e-mail die al onderweg is, kan nog aankomen.",
            "Het was een vergissing: weer aanmelden",
            "U bent weer aangemeld",
            "Alles is zoals het was.",
            "Deze link werkt niet",
            "Misschien is hij afgebroken. Open de link in de e-mail nog een keer.",
            "Dit is een testmail",
            "In een echte e-mail meldt men zich hier af. Er is niets veranderd.",
        ),
        "ja": (
            "配信を停止する",
            "差出人",
            "宛先",
            "リスト",
            "すべての配信を停止する",
            "配信を停止しました",
            "これらのリストからのメールは今後届きません。",
            "この差出人からのメールは今後届きません。",
            "すでに送信中のメールは届くことがあります。",
            "間違えました。もう一度登録する",
            "もう一度登録しました",
            "すべて元どおりです。",
            "このリンクは使えません",
            "途中で切れている可能性があります。メールのリンクをもう一度開いてください。",
            "これはテストメールです",
            "実際のメールでは、ここで配信を停止できます。何も変更していません。",
        ),
    }
)

LANGUAGES = tuple(_TEXTS)


def texts_in(language: str) -> dict[str, str]:
    """Return every text of the page in one of LANGUAGES."""
    return dict(zip(_KEYS, _TEXTS[language], strict=True))


def choose(own: str, accepted: str) -> str:
    """Return the language of a person: their own, else the best of Accept-Language, else English.

    >>> choose("pt_BR", "de"), choose("", "sv, nl;q=0.5"), choose("tlh", "")
    ('pt', 'nl', 'en')
    """
    wishes = [own, *(tag for tag, _ in parse_accept_lang_header(accepted))]
    return next((wish for each in wishes if (wish := each[:2].lower()) in _TEXTS), "en")
