"""What made-up people are made of: places, names, domains, programs. Shares are weights."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where people live, and what they are called there. Names: as written, or written/spelt."""

    weight: int
    language: str
    country: str
    time_zone: str
    cities: str
    first_names: str
    last_names: str


PLACES = (
    Place(
        18, "en", "GB", "Europe/London", "London Leeds Bristol Glasgow",
        "Olivia Amelia Isla Ava George Harry Arthur Noah Freya Oscar Theo Ivy",
        "Smith Jones Taylor Brown Wilson Evans Thomas Roberts Walker Wright Hughes Clarke",
    ),
    Place(
        14, "en", "US", "America/New_York", "Boston Albany Pittsburgh Atlanta",
        "Emma Charlotte Sophia James Liam Henry Grace Ella Jack Mason Zoe Caleb",
        "Johnson Williams Miller Davis Garcia Anderson Moore Martin Lee Thompson White Young",
    ),
    Place(
        18, "de", "DE", "Europe/Berlin", "Berlin Hamburg Leipzig Köln",
        "Anna Emilia Lena Mia Jonas Paul Felix Lukas Jörg/jorg Käthe/kaethe Greta Emil",
        "Müller/mueller Schmidt Fischer Weber Wagner Becker Schäfer/schaefer Koch Richter Wolf"
        " Krüger/krueger Vogel",
    ),
    Place(
        4, "de", "AT", "Europe/Vienna", "Wien Graz Linz",
        "Marie Sophie Laura Maximilian David Jakob Valentina Leo",
        "Gruber Huber Bauer Wagner Pichler Steiner Moser Mayer",
    ),
    Place(
        12, "fr", "FR", "Europe/Paris", "Paris Lyon Nantes Lille",
        "Louise Jade Alice Chloé/chloe Gabriel Hugo Jules Raphaël/raphael Inès/ines Malo Léa/lea",
        "Bernard Dubois Durand Leroy Moreau Girard Lefèvre/lefevre Mercier Fontaine Chevalier"
        " Robin Garnier",
    ),
    Place(
        9, "es", "ES", "Europe/Madrid", "Madrid Sevilla Bilbao Valencia",
        "Lucía/lucia María/maria Paula Sofía/sofia Hugo Mateo Pablo Álvaro/alvaro Carmen Iker",
        "García/garcia Fernández/fernandez López/lopez Sánchez/sanchez Gil Ruiz Moreno Ortega"
        " Navarro Castro",
    ),
    Place(
        7, "it", "IT", "Europe/Rome", "Roma Milano Torino Bari",
        "Giulia Sofia Aurora Alice Leonardo Francesco Lorenzo Matteo Chiara Elia",
        "Rossi Russo Ferrari Esposito Bianchi Romano Ricci Marino Greco Conti",
    ),
    Place(
        6, "pt", "PT", "Europe/Lisbon", "Lisboa Porto Braga Faro",
        "Ana Maria Beatriz Inês/ines João/joao Rui Tiago Duarte Marta Nuno",
        "Silva Santos Ferreira Pereira Oliveira Costa Sousa Lopes Marques Almeida",
    ),
    Place(
        5, "pt-BR", "BR", "America/Sao_Paulo", "Recife Curitiba Campinas",
        "Helena Laura Valentina Miguel Arthur Heitor Davi Bruna",
        "Silva Santos Souza Lima Araújo/araujo Ribeiro Carvalho Barbosa",
    ),
    Place(
        5, "nl", "NL", "Europe/Amsterdam", "Utrecht Leiden Groningen",
        "Emma Julia Mila Tess Daan Sem Levi Bram Sanne Jip",
        "Jansen Bakker Visser Smit Meijer Mulder Bos Peters Hendriks Dekker",
    ),
    Place(
        6, "ja", "JP", "Asia/Tokyo", "東京 大阪 札幌",
        "陽菜/hina 美咲/misaki 結衣/yui さくら/sakura 蓮/ren 大翔/hiroto 健/ken 翔太/shota",
        "佐藤/sato 鈴木/suzuki 高橋/takahashi 田中/tanaka 伊藤/ito 山本/yamamoto 中村/nakamura"
        " 小林/kobayashi",
    ),
    Place(
        2, "", "", "", "",
        "Alex Sam Robin Kim Nicola Jean",
        "Meyer Novak Horvat Nagy Kovac Larsen",
    ),
)  # fmt: skip

DOMAINS = (
    (34, "gmail.example"),
    (10, "outlook.example"),
    (7, "hotmail.example"),
    (7, "yahoo.example"),
    (2, "aol.example"),
    (7, "icloud.example"),
)
"""The rest of 100 works somewhere: company17.example. All are reserved, so no mail can get out."""
COMPANIES = 20_000

LISTS = (
    ("Newsletter", "News and guides, twice a month.", 0.86),
    ("Product news", "What is new in the product.", 0.38),
    ("Offers", "Prices and sales.", 0.45),
    ("Events", "Meetings and talks near you.", 0.12),
)
"""Name, description, share of people."""

_TAGS_WORDS = "vip trial webinar partner student shop-2025 referral press beta wholesale blog fair"
TAGS = tuple(_TAGS_WORDS.split())

PROGRAMS = (
    (30, "mobile", "Apple Mail", "iOS", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)"),
    (22, "mobile", "Gmail", "Android", "Mozilla/5.0 (Linux; Android 15; Pixel 9) GmailMobile"),
    (20, "desktop", "", "Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0"),
    (14, "desktop", "Outlook", "Windows", "Microsoft Office/16.0 (Windows NT 10.0; Outlook 16.0)"),
    (9, "desktop", "Apple Mail", "macOS", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"),
    (5, "tablet", "Apple Mail", "iPadOS", "Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X)"),
)
"""Weight, device, client, system, user agent."""

SUBJECTS = (
    "Three guides and one experiment",
    "What we learned this month",
    "The autumn sale begins",
    "New: reports that explain themselves",
    "Your questions, answered",
    "A look behind the scenes",
    "Last days at this price",
    "Meet us near you",
)
